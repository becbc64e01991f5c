import * as tf from '@tensorflow/tfjs-core';
import { TrainingError } from './errors';
import { type Group, type GroupNumbers, orFail, type RankRanges } from './group';
import type { OptimizerState, StoredOptimizerState } from './optimizer';
import type { Parameter } from './policy';
import { isTensor, type Numbers, type SavedTensor, sizeOf, type Values } from './values';

// ZeRO-1 (arXiv 1910.02054): each rank updates one range of every parameter's values, and has the optimizer's state for this range only.
// Gradients are summed to the rank that updates with them, and the new values are gathered.

/** What ranks divide among them: nothing, or the optimizer's state (ZeRO-1). */
export type Sharding = 'none' | 'zero1';

export const SHARDINGS: readonly Sharding[] = ['none', 'zero1'];

/** Whether the optimizer's state is divided. A single process has all of it. */
export const dividesState = ({ sharding, group }: { readonly sharding?: Sharding; readonly group?: Group }): boolean =>
  sharding === 'zero1' && group !== undefined && group.size > 1;

/** Ranges begin at multiples of it, so that they have whole blocks of 8-bit moments. */
const BLOCK = 256;

type Ranks = Pick<Group, 'rank' | 'size'>;

/** Where the range of each rank begins in `count` values, and `count`: `[size + 1]`. */
export function rangesOf(count: number, size: number): number[] {
  const each = Math.ceil(Math.ceil(count / size) / BLOCK) * BLOCK;
  return Array.from({ length: size + 1 }, (_, r) => Math.min(r * each, count));
}

/** A range of a parameter's values, as a parameter with its name. */
interface ParameterRange extends Parameter {
  dispose(): void;
}

/** @param sums the gradient of the range; null before there are any */
function rangeOf(parameter: Parameter, { rank, size }: Ranks, sums: Values | null): ParameterRange {
  const starts = rangesOf(sizeOf(parameter.shape), size);
  const [start, count] = [starts[rank]!, starts[rank + 1]! - starts[rank]!];
  let [value, gradient]: [Values | null, Values | null] = [null, sums];
  return {
    name: parameter.name,
    decay: parameter.decay,
    shape: [count],
    whole: parameter.shape,
    value() {
      value ??= partOf(parameter.value(), start, count);
      return value;
    },
    assign(next) {
      value?.dispose();
      value = tf.keep(next);
    },
    gradient: () => gradient,
    assignGradient(next) {
      gradient?.dispose();
      gradient = next;
    },
    zeroGradient() {
      gradient?.dispose();
      gradient = null;
    },
    dispose() {
      value?.dispose();
      gradient?.dispose();
    },
  };
}

/** A copy of a tensor's values, or a handle on stored ones. The caller disposes it. */
const partOf = (values: Values, start: number, count: number): Values =>
  isTensor(values)
    ? tf.keep(tf.tidy(() => tf.slice(tf.reshape(values, [values.size]), start, count)))
    : values.part(start, count);

interface ShardedUpdate {
  readonly group: Group;
  readonly parameters: readonly Parameter[];
  /** Names the gradients in errors of the group. */
  readonly what: string;
  readonly computeNorm: (parameters: readonly Parameter[]) => Promise<number>;
  /** Updates ranges of parameters, given the norm of all gradients. */
  readonly update: (gradNorm: number, parameters: readonly Parameter[]) => Promise<void>;
}

/** Updates the range of this rank, and gathers those of the others. Every rank has gradients for the same parameters. Returns their norm. */
export async function shardedUpdate({ group, parameters, what, computeNorm, update }: ShardedUpdate): Promise<number> {
  const trained = parameters.filter((parameter) => parameter.gradient() !== null);
  const ranges = await reduceScatterGradients(group, trained, what);
  try {
    const squares = Float64Array.of((await computeNorm(ranges)) ** 2);
    await group.allReduce([squares], `norm of ${what}`);
    const gradNorm = Math.sqrt(squares[0]!);
    await update(gradNorm, ranges);
    await gatherValues(group, trained, ranges);
    return gradNorm;
  } finally {
    for (const range of ranges) range.dispose();
  }
}

/** Sums gradients to the ranks that update with them. Returns the ranges of this rank, which the caller disposes. */
async function reduceScatterGradients(
  group: Group,
  trained: readonly Parameter[],
  what: string,
): Promise<ParameterRange[]> {
  const { rank } = group;
  const sums: RankRanges[] = await orFail(group, () => {
    for (const { name, value } of trained) checkValue(name, value());
    return Promise.all(
      trained.map(async (parameter) => ({
        numbers: await numbersOf(parameter.gradient()!),
        starts: rangesOf(sizeOf(parameter.shape), group.size),
      })),
    );
  });
  await group.reduceScatter(sums, what);
  return trained.flatMap((parameter, i) => {
    const { numbers, starts } = sums[i]!;
    const [start, end] = [starts[rank]!, starts[rank + 1]!];
    if (start === end) return [];
    const gradient = parameter.gradient()!;
    const own = ArrayBuffer.isView(numbers) ? (numbers.subarray(start, end) as Float32Array) : null;
    if (own && !isTensor(gradient)) gradient.write(start, own);
    const sum = own && isTensor(gradient) ? tf.keep(tf.tensor1d(own)) : partOf(gradient, start, end - start);
    return [rangeOf(parameter, group, sum)];
  });
}

/** In place where the group can read the memory, else a copy. */
async function numbersOf(values: Values): Promise<GroupNumbers> {
  if (isTensor(values)) return (await values.data()).slice() as Float32Array;
  return values.hostMemory?.() ?? (values.read(0, sizeOf(values.shape)) as Float32Array);
}

async function gatherValues(group: Group, parameters: readonly Parameter[], ranges: readonly Parameter[]) {
  const updated = new Map(ranges.map((range) => [range.name, range]));
  for (const parameter of parameters) {
    const starts = rangesOf(sizeOf(parameter.shape), group.size);
    const value = parameter.value();
    const numbers = await orFail(group, async () => {
      const all = await numbersOf(value);
      const own = updated.get(parameter.name)?.value();
      if (own && isTensor(own)) (all as Float32Array).set(await own.data(), starts[group.rank]);
      return all;
    });
    await group.allGatherRanges([{ numbers, starts }], `values of "${parameter.name}"`);
    if (!ArrayBuffer.isView(numbers)) continue;
    if (isTensor(value)) parameter.assign(tf.keep(tf.tensor(numbers as Float32Array, [...parameter.shape], 'float32')));
    else value.write(0, numbers as Float32Array);
  }
}

function checkValue(name: string, value: Values): void {
  if (isTensor(value) || value.fileType !== 'BF16') return;
  throw new TrainingError(
    `sharding: zero1: "${name}": expected float32 values, or bfloat16 with their low bits, found bfloat16 that is rounded at random, which ` +
      "depends on a value's index in the whole parameter. Use master_weights: exact, or sharding: none.",
  );
}

/** The part of a stored state that a rank has, for the parameters of its ranges. */
export function shardOfState(
  stored: StoredOptimizerState,
  parameters: readonly Parameter[],
  ranks: Ranks,
): readonly [StoredOptimizerState, readonly Parameter[]] {
  const ranges = parameters
    .map((parameter) => rangeOf(parameter, ranks, null))
    .filter(({ shape }) => sizeOf(shape) > 0);
  const byName = new Map(parameters.map((parameter) => [parameter.name, parameter]));
  async function* tensors(): AsyncGenerator<SavedTensor> {
    for await (const saved of stored.tensors) {
      const parameter = byName.get(parameterName(saved));
      if (!parameter) {
        yield saved; // which the optimizer refuses
        continue;
      }
      const { starts, isByValue } = stateRanges(saved, parameter, ranks.size);
      const [start, end] = [starts[ranks.rank]!, starts[ranks.rank + 1]!];
      if (start === end) continue;
      const isOther = isByValue && String(saved.shape) !== String(parameter.shape); // the optimizer refuses it
      const shape = isOther ? saved.shape : [end - start];
      yield { ...saved, shape, read: (from, count) => saved.read(start + from, count) };
    }
  }
  return [{ step: stored.step, tensors: tensors() }, ranges];
}

/** The name of the parameter that a tensor of the state, `<parameter>.<name>`, belongs to. */
const parameterName = ({ name }: Pick<SavedTensor, 'name'>): string => name.slice(0, name.lastIndexOf('.'));

/** The ranges of a tensor of the state, which has a number for each value or for each block of values. */
function stateRanges({ shape }: Pick<SavedTensor, 'shape'>, parameter: Parameter, size: number) {
  const count = sizeOf(parameter.shape);
  const isByValue = sizeOf(shape) === count;
  const starts = rangesOf(count, size);
  return { isByValue, starts: isByValue ? starts : starts.map((start) => Math.ceil(start / BLOCK)) };
}

/**
 * Runs `save` on rank 0 with the whole state. Its values are gathered from the other ranks as they are read, a part at a time. Every rank calls
 * this.
 */
export async function withWholeState(
  { group, parameters }: { readonly group: Group; readonly parameters: readonly Parameter[] },
  state: OptimizerState,
  save: (tensors: Iterable<SavedTensor>) => Promise<unknown>,
): Promise<void> {
  const what = 'state of the optimizer';
  const wholes = new Map(parameters.map((parameter) => [parameter.name, parameter]));
  const own = [...state.tensors].map((tensor) => {
    const parameter = wholes.get(parameterName(tensor))!;
    const starts = rangesOf(sizeOf(parameter.shape), group.size);
    const isByValue = sizeOf(tensor.shape) === starts[group.rank + 1]! - starts[group.rank]!;
    const scale = isByValue ? 1 : BLOCK;
    return { tensor, parameter, isByValue, starts: starts.map((start) => Math.ceil(start / scale)) };
  });
  const byName = new Map(own.map((entry) => [entry.tensor.name, entry]));
  /** Values of a part from all ranks: the same call on each. */
  async function gather(name: string, start: number, count: number, rangeStarts: readonly number[]): Promise<Numbers> {
    const within = rangeStarts.map((at) => Math.min(Math.max(at - start, 0), count));
    const [from, to] = [within[group.rank]!, within[group.rank + 1]!];
    const numbers = new Float32Array(count);
    await orFail(group, async () => {
      if (from === to) return;
      numbers.set(await byName.get(name)!.tensor.read(start + from - rangeStarts[group.rank]!, to - from), from);
    });
    await group.allGatherRanges([{ numbers, starts: within }], what);
    return numbers;
  }
  type Request = readonly [name: string, start: number, count: number, rangeStarts: readonly number[]];
  if (group.rank > 0) {
    for (;;) {
      const request = await group.broadcast<Request | null>(null, what);
      if (!request) return;
      await gather(...request);
    }
  }
  const whole = own.map(
    ({ tensor, parameter, isByValue, starts }): SavedTensor => ({
      ...tensor,
      shape: isByValue ? parameter.shape : [starts.at(-1)!],
      async read(start, count) {
        const request: Request = [tensor.name, start, count, starts];
        await group.broadcast<Request | null>(request, what);
        const numbers = await gather(...request);
        return tensor.type === 'U8' ? Uint8Array.from(numbers) : numbers;
      },
    }),
  );
  await orFail(group, () => save(whole));
  await group.broadcast<Request | null>(null, what);
}
