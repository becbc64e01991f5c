import koffi from 'koffi';
import type { Group, GroupNumbers, RankRanges } from '../src';

type Entry = { readonly kind: string; readonly value: unknown };

/** Groups of ranks in this process, which run as concurrent tasks. `kinds` gets the functions that rank 0 calls. */
export function localGroups(size: number, kinds: string[] = []): Group[] {
  const shared = new WeakSet<object>();
  let round = newRound(size);
  async function meet(rank: number, kind: string, value: unknown): Promise<readonly unknown[]> {
    const { entries, whole, resolve } = round;
    if (rank === 0) kinds.push(kind);
    entries[rank] = { kind, value };
    if (Object.keys(entries).length === size) {
      round = newRound(size);
      resolve(entries);
    }
    const all = await whole;
    const failed = all.find((entry) => entry.kind === 'fail');
    if (failed) {
      shared.add(failed.value as object);
      if (kind !== 'fail') throw failed.value;
      return [failed.value];
    }
    const other = all.find((entry) => entry.kind !== kind);
    if (other) throw new Error(`rank ${rank} is in ${kind}, another in ${other.kind}`);
    return all.map((entry) => entry.value);
  }
  const sumOf = (all: readonly (Float32Array | Float64Array)[], j: number) =>
    all.reduce((sum, one) => (one instanceof Float32Array ? Math.fround(sum + one[j]!) : sum + one[j]!), 0);
  return Array.from({ length: size }, (_, rank): Group => {
    /** Replaces value j, of the range of rank r, by what `next` makes of the copies of all ranks. */
    async function exchange(
      values: readonly RankRanges[],
      kind: string,
      next: (all: readonly (Float32Array | Float64Array)[], j: number, r: number) => number,
    ) {
      const copies = values.map(({ numbers }) => numbersOf(numbers).slice());
      const all = (await meet(rank, kind, copies)) as (typeof copies)[];
      for (const [i, { numbers, starts }] of values.entries()) {
        const to = numbersOf(numbers);
        const of = all.map((ranks) => ranks[i]!);
        for (let r = 0; r < size; r++) for (let j = starts[r]!; j < starts[r + 1]!; j++) to[j] = next(of, j, r);
      }
    }
    const gather = async <T>(value: T, kind: string) =>
      JSON.parse(JSON.stringify(await meet(rank, kind, value))) as T[];
    return {
      rank,
      size,
      async allReduce(values) {
        const copies = values.map((one) => numbersOf(one).slice());
        const all = (await meet(rank, 'allReduce', copies)) as (typeof copies)[];
        for (const [i, one] of values.entries()) {
          const to = numbersOf(one);
          const of = all.map((ranks) => ranks[i]!);
          for (const j of to.keys()) to[j] = sumOf(of, j);
        }
      },
      // what other ranks own is undefined: NaN, so that code which reads it fails
      reduceScatter: (values) =>
        exchange(values, 'reduceScatter', (all, j, r) => (r === rank ? sumOf(all, j) : Number.NaN)),
      allGatherRanges: (values) => exchange(values, 'allGatherRanges', (all, j, r) => all[r]![j]!),
      allGather: (value) => gather(value, 'allGather'),
      broadcast: async (value) => (await gather(value ?? null, 'broadcast'))[0] as typeof value,
      agree: async (flag) => (await gather(flag, 'agree')).includes(true),
      async fail(error) {
        if (shared.has(error as object)) return error;
        return (await meet(rank, 'fail', error))[0];
      },
    };
  });
}

function newRound(size: number) {
  let resolve!: (entries: readonly Entry[]) => void;
  const whole = new Promise<readonly Entry[]>((done) => {
    resolve = done;
  });
  return { entries: new Array<Entry>(size), whole, resolve };
}

const numbersOf = (values: GroupNumbers): Float32Array | Float64Array =>
  'address' in values ? new Float32Array(koffi.view(values.address, 4 * values.count)) : values;

/** Runs a task on every rank, and waits for all. Throws the first error only after all have ended. */
export async function onRanks<T>(groups: readonly Group[], task: (group: Group) => Promise<T>): Promise<T[]> {
  const results = await Promise.allSettled(groups.map(task));
  return results.map((result) => {
    if (result.status === 'rejected') throw result.reason;
    return result.value;
  });
}
