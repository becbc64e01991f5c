import * as tf from '@tensorflow/tfjs-core';
import { TrainingError } from './errors';
import { type Group, type GroupNumbers, orFail } from './group';
import type { MicroBatch } from './micro-batch';
import type { PairResult } from './pair-loss';
import { type Parameter, pairLength } from './policy';
import { isTensor, partsOf, type StoredValues } from './values';

// Data parallel: every rank of a group has the whole model, runs a part of a step's micro-batches, and makes the same update with the sum
// of all gradients.

/** Part of some items for each rank, by their indices in increasing order: the largest item first, to the rank with the least so far. */
export function divideWork(costs: readonly number[], ranks: number): number[][] {
  if (ranks === 1) return [costs.map((_, i) => i)];
  const shares = Array.from({ length: ranks }, () => ({ cost: 0, indices: [] as number[] }));
  const largestFirst = costs
    .map((cost, index) => ({ cost, index }))
    .sort((a, b) => b.cost - a.cost || a.index - b.index);
  for (const { cost, index } of largestFirst) {
    const share = shares.reduce((least, next) => (next.cost < least.cost ? next : least));
    share.cost += cost;
    share.indices.push(index);
  }
  return shares.map(({ indices }) => indices.sort((a, b) => a - b));
}

/** The micro-batches of a step that a rank runs. */
export interface Share {
  readonly batches: readonly MicroBatch[];
  /** The index of each batch's first pair among all pairs of the step. */
  readonly starts: readonly number[];
  /**
   * Whether the step has fewer micro-batches than ranks, and none for this one. It then runs the first one with a loss scale of 0: so every
   * rank has a gradient for the same parameters, which are zeros here.
   */
  readonly isSpare: boolean;
}

export function shareOf(microBatches: readonly MicroBatch[], { rank, size }: Pick<Group, 'rank' | 'size'>): Share {
  let next = 0;
  const starts = microBatches.map(({ pairs }) => {
    next += pairs.length;
    return next - pairs.length;
  });
  const costs = microBatches.map(({ pairs }) => pairs.reduce((total, pair) => total + pairLength(pair), 0));
  const own = divideWork(costs, size)[rank]!;
  const isSpare = own.length === 0;
  const indices = isSpare ? [0] : own;
  return { batches: indices.map((i) => microBatches[i]!), starts: indices.map((i) => starts[i]!), isSpare };
}

/** The numbers of a pair's result, in the order in which ranks send them. */
const NUMBERS = [
  'loss',
  'weight',
  'chosenReward',
  'rejectedReward',
  'chosenLogps',
  'rejectedLogps',
  'chosenDrop',
  'chosenTokens',
  'wpoWeight',
  'tokens',
] as const satisfies readonly (keyof PairResult)[];

/** Results of some pairs as numbers that can be summed over ranks: zeros for all pairs of other ranks. */
export function resultNumbers(
  count: number,
  own: readonly (readonly [index: number, result: PairResult])[],
): Float64Array {
  const numbers = new Float64Array(count * NUMBERS.length);
  for (const [index, result] of own) {
    for (const [i, name] of NUMBERS.entries()) numbers[index * NUMBERS.length + i] = result[name];
  }
  return numbers;
}

/** The results of all pairs, given the sum of the numbers of all ranks. */
export const readResults = (ids: readonly string[], numbers: Float64Array): PairResult[] =>
  ids.map((id, index) => {
    const values = NUMBERS.map((name, i) => [name, numbers[index * NUMBERS.length + i]!] as const);
    return { id, ...(Object.fromEntries(values) as Record<(typeof NUMBERS)[number], number>) };
  });

/** Names the gradients of a step in errors of a group. */
export const gradientsOf = ({ step }: { readonly step?: number }): string =>
  step === undefined ? 'gradients' : `gradients of step ${step}`;

/** Replaces gradients, and other numbers, by their sums over all ranks. Every rank has gradients for the same parameters. */
export async function allReduceGradients(
  group: Group,
  parameters: readonly Parameter[],
  { what, more = [] }: { readonly what: string; readonly more?: readonly GroupNumbers[] },
): Promise<void> {
  if (group.size === 1) return;
  const [numbers, writes]: [GroupNumbers[], (() => void)[]] = [[...more], []];
  await orFail(group, async () => {
    for (const parameter of parameters) {
      const gradient = parameter.gradient();
      if (!gradient) continue;
      if (isTensor(gradient)) {
        const values = (await gradient.data()).slice() as Float32Array;
        numbers.push(values);
        writes.push(() => parameter.assignGradient(tf.keep(tf.tensor(values, [...parameter.shape], 'float32'))));
      } else addStored(gradient, numbers, writes);
    }
  });
  await group.allReduce(numbers, what);
  for (const write of writes) write();
}

/** In place where the group can read the memory, else by a copy. */
function addStored(gradient: StoredValues, numbers: GroupNumbers[], writes: (() => void)[]): void {
  const memory = gradient.hostMemory?.();
  if (memory) return void numbers.push(memory);
  for (const [start, count] of partsOf(gradient.shape)) {
    const values = gradient.read(start, count) as Float32Array;
    numbers.push(values);
    writes.push(() => gradient.write(start, values));
  }
}

/** Values that a rank has for each of some pairs, gathered. */
export interface RoundsOptions<T> {
  readonly group: Group;
  readonly items: readonly T[];
  /** What an item takes, in any unit: ranks get about the same. */
  cost(item: T): number;
  /** Computes an item's numbers, always as many for the same item. */
  work(item: T): Promise<ArrayLike<number>>;
  /** The number of an item's numbers. */
  width(item: T): number;
  /** Called on every rank with the numbers of the next items, in their order. Returns false to end. */
  onResults(items: readonly T[], numbers: readonly Float64Array[]): Promise<boolean> | boolean;
  readonly what: string;
}

/** Items of each rank in a round: enough that ranks take about the same time, few enough that little is lost at a kill. */
const ROUND = 8;

/** Computes numbers for items, divided over the ranks in rounds. One process runs one item at a time. */
export async function inRounds<T>(options: RoundsOptions<T>): Promise<void> {
  const { group, items, cost, work, width, onResults, what } = options;
  const round = group.size === 1 ? 1 : ROUND * group.size;
  for (let start = 0; start < items.length; start += round) {
    const now = items.slice(start, start + round);
    const ends = now.map(
      (
        (end) => (item: T) =>
          (end += width(item))
      )(0),
    );
    const numbers = new Float64Array(ends.at(-1)!);
    await orFail(group, async () => {
      for (const i of divideWork(now.map(cost), group.size)[group.rank]!) {
        const values = await work(now[i]!);
        numbers.set(values, ends[i]! - values.length);
      }
    });
    await group.allReduce([numbers], what);
    const parts = now.map((item, i) => numbers.subarray(ends[i]! - width(item), ends[i]!));
    if (!(await onResults(now, parts))) return;
  }
}

export interface MapOptions<T, R> {
  readonly group: Group;
  /** What an item takes, in any unit: ranks get about the same. */
  cost(item: T): number;
  /** Computes an item's value, which must be JSON. */
  work(item: T): Promise<R>;
  /** Names the values in errors. */
  readonly what: string;
}

/** Computes a value for each item, divided over the ranks in rounds. Yields the values of each round on every rank, in the items' order. */
export async function* mapOverRanks<T, R>(
  items: readonly T[],
  options: MapOptions<T, R>,
): AsyncGenerator<readonly R[]> {
  const { group, cost, work, what } = options;
  const round = group.size === 1 ? 1 : ROUND * group.size;
  for (let start = 0; start < items.length; start += round) {
    const now = items.slice(start, start + round);
    const own = await orFail(group, async () => {
      const values: (readonly [index: number, value: R])[] = [];
      for (const i of divideWork(now.map(cost), group.size)[group.rank]!) values.push([i, await work(now[i]!)]);
      return values;
    });
    const all = (await group.allGather(own, what)).flat();
    yield all.sort((a, b) => a[0] - b[0]).map(([, value]) => value);
  }
}

/**
 * Compares values that must be the same on all ranks.
 *
 * @throws TrainingError with the first value that differs
 */
export async function requireEqual(
  group: Group,
  values: Readonly<Record<string, unknown>>,
  { what, hint }: { readonly what: string; readonly hint: string },
): Promise<void> {
  if (group.size === 1) return;
  const texts = Object.entries(values).map(([name, value]) => [name, JSON.stringify(value) ?? 'nothing'] as const);
  const [first, ...others] = (await group.allGather(texts, what)).map((entries) => new Map(entries));
  for (const [i, found] of others.entries()) {
    const name = [...first!.keys(), ...found.keys()].find((key) => first!.get(key) !== found.get(key));
    if (name === undefined) continue;
    throw new TrainingError(
      `rank ${i + 1}: ${name}: expected the value of rank 0, ${first!.get(name)}, found ${found.get(name)}. ${hint}`,
    );
  }
}
