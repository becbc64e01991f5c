import type { Group, GroupNumbers } from '../src';

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
  return Array.from({ length: size }, (_, rank): Group => {
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
          for (const j of to.keys())
            to[j] = all.reduce(
              (sum, ranks) => (to instanceof Float32Array ? Math.fround(sum + ranks[i]![j]!) : sum + ranks[i]![j]!),
              0,
            );
        }
      },
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

function numbersOf(values: GroupNumbers): Float32Array | Float64Array {
  if ('address' in values) throw new Error('expected an array');
  return values;
}

/** Runs a task on every rank, and waits for all. Throws the first error only after all have ended. */
export async function onRanks<T>(groups: readonly Group[], task: (group: Group) => Promise<T>): Promise<T[]> {
  const results = await Promise.allSettled(groups.map(task));
  return results.map((result) => {
    if (result.status === 'rejected') throw result.reason;
    return result.value;
  });
}
