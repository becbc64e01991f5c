import type { OptimizerKernel, Update, Values } from '@wpo/trainer';
import { nativeOptimizer } from './optimizer';
import { program } from './program';
import { type StoredType, StoredVariable } from './store';

// Updates on a GPU with the optimizer's state, the gradients or both in pinned memory of the CPU. A part of them is copied to the GPU,
// the parameter is updated there, and the state is copied back. While one part is updated, the next is copied in, and the one before is
// copied out. Where gradients are kept until the next step, updates are made in its forward pass, and the copies run beside it.

/** Values of a parameter that are updated at once: 64 MB of each float32 tensor. A multiple of the blocks of 8-bit moments. */
export const OFFLOADED_PART = 1 << 24;

/** Rules that update each value by itself, so that a parameter can be updated in parts. */
const BY_VALUE = ['AdamW', 'AdamW8bit', 'Lion', 'SGD'];

type Stored = StoredVariable<Exclude<StoredType, 'int16'>>;

/** A part of a parameter. */
interface Part {
  /** Without what is in pinned memory. */
  readonly update: Update;
  /** The tensors of the state that are in pinned memory, by their names. */
  readonly state: Readonly<Record<string, Stored>>;
  /** The gradient, if it is in pinned memory. */
  readonly gradient: Stored | undefined;
  dispose(): void;
}

/** A part whose update waits. */
interface Waiting {
  readonly part: Part;
  /** Updates the part, whose values are all on the GPU. */
  readonly update: (part: Update) => void;
  isDone: boolean;
}

export interface OffloadedOptimizerOptions {
  /** Where the optimizer's state is. Gradients may be in either memory with both. Default `cpu`. */
  readonly state?: 'cpu' | 'gpu';
  /** Values of a parameter that are updated at once, a multiple of 256; for tests. */
  readonly part?: number;
}

/**
 * Returns updates on a GPU with the optimizer's state or the gradients (`offloadedGradients`) in memory of the CPU. On the GPU they take the
 * memory of two parts. A state on the CPU is one of AdamW, also with 8-bit moments, or of Lion. Adafactor, and weights that are
 * rounded at random, are updated as a whole. It needs native operations on a GPU.
 *
 * With gradients of `offloadedGradients`, updates wait: each is made before its parameter's value is read, or by `continueUpdate`, one part
 * at a call. A part is copied in beside what is computed between two calls.
 */
export function offloadedOptimizer({
  state: place = 'cpu',
  part = OFFLOADED_PART,
}: OffloadedOptimizerOptions = {}): OptimizerKernel {
  const buffers = [new Map<string, Stored>(), new Map<string, Stored>()] as const;
  let turn = 0;
  const waiting: Waiting[] = [];
  /** The first part that waits, once its copy has begun. */
  let fetched: ReturnType<typeof fetch> | null = null;
  /** Memory of the GPU for a part. */
  const buffer = (of: Map<string, Stored>, name: string, { dtype, shape }: Stored) => {
    const [count, key] = [sizeOf(shape), `${name} ${dtype}`];
    const known = of.get(key);
    if (known && sizeOf(known.shape) >= count) return known.part(0, count, shape);
    known?.dispose();
    const made = StoredVariable.zeros([count], dtype, program);
    of.set(key, made);
    return made.part(0, count, shape);
  };
  /** Begins to copy a part to the GPU, into the buffers that the part before does not use. */
  const fetch = ({ state, gradient }: Part) => {
    turn = 1 - turn;
    const of = buffers[turn as 0 | 1];
    const copy = (name: string, from: Stored) => {
      const into = buffer(of, name, from);
      program.recordInPlace('WpoCopyFromPinned', [into, from]);
      return into;
    };
    return {
      state: Object.fromEntries(Object.entries(state).map(([name, from]) => [name, copy(name, from)])),
      gradient: gradient && copy('gradient', gradient),
    };
  };
  /** Updates the first part that waits. */
  const runNext = () => {
    const next = waiting.shift();
    if (!next) return;
    const { update, state: pinned, dispose } = next.part;
    const { state, gradient } = fetched ?? fetch(next.part);
    fetched = waiting[0] ? fetch(waiting[0].part) : null;
    const copied = [...Object.values(state), ...(gradient ? [gradient] : [])];
    for (const values of copied) program.recordInPlace('WpoWaitForCopies', [values]);
    next.update({ ...update, state: { ...update.state, ...state }, gradient: gradient ?? update.gradient });
    for (const [name, values] of Object.entries(state)) {
      program.recordInPlace('WpoCopyToPinned', [pinned[name]!, values]);
    }
    for (const values of copied) values.dispose();
    dispose();
    next.isDone = true;
  };
  const finish = () => {
    while (waiting.length > 0) runNext();
    program.run(); // begins the last copies
  };
  return {
    ...nativeOptimizer,
    ...(place === 'cpu' && {
      zeros: (shape, type) => StoredVariable.pinnedZeros(shape, type === 'U8' ? 'uint8' : 'float32', program),
    }),
    update(rule, updates, scalars) {
      const isByValue = BY_VALUE.includes(rule.name);
      if (place === 'cpu' && !isByValue) {
        throw new Error(
          `${rule.name}: its state cannot be in memory of the CPU: expected one of ${BY_VALUE.join(', ')}.`,
        );
      }
      if (fetched) finish();
      const isLater = updates.every(canWait);
      for (const update of updates) {
        const isWhole = !isByValue || isRoundedAtRandom(update);
        if (place === 'cpu' && isWhole) {
          throw new Error(
            `${update.parameter.name}: stochastic rounding depends on a value's index in the whole parameter: expected other weights.`,
          );
        }
        const parts = partsOf(update, isWhole ? Number.POSITIVE_INFINITY : part).map(
          (part): Waiting => ({
            part,
            update: (onGpu) => nativeOptimizer.update(rule, [onGpu], scalars),
            isDone: false,
          }),
        );
        // vectors first: they are the norms of all layers, and matrices come in the order in which a pass reads them
        const isVector = update.parameter.shape.length === 1;
        waiting.splice(isVector ? 0 : waiting.length, 0, ...parts);
        const last = parts.at(-1)!;
        if (isLater) {
          update.parameter.updateLater!(() => {
            while (!last.isDone) runNext();
          });
        }
      }
      if (!isLater) finish();
    },
    continueUpdate: runNext,
    finish,
    dispose() {
      finish();
      for (const buffer of buffers) {
        for (const values of buffer.values()) values.dispose();
        buffer.clear();
      }
    },
  };
}

/** Whether an update may be made later: its gradient is kept, and its parameter asks for the update. */
const canWait = ({ parameter, gradient }: Update) =>
  gradient instanceof StoredVariable && gradient.isPinned && parameter.updateLater !== undefined;

const sizeOf = (shape: readonly number[]) => shape.reduce((size, n) => size * n, 1);

/** Whether a value's update depends on its index in the parameter. */
function isRoundedAtRandom({ parameter }: Update): boolean {
  const held = parameter.value();
  return held instanceof StoredVariable && held.fileType === 'BF16';
}

/** Divides a parameter into parts of `size` values. A tensor of the state has a value for each of them, or for 256. */
function partsOf({ parameter, gradient, state, roundingKey }: Update, size: number): Part[] {
  const count = sizeOf(parameter.shape);
  const each = Math.min(size, count);
  const starts = Array.from({ length: Math.ceil(count / each) }, (_, i) => i * each);
  return starts.map((start) => {
    const end = Math.min(count, start + each);
    const handles: StoredVariable<StoredType>[] = [];
    const take = (values: Values) => {
      if (!(values instanceof StoredVariable)) throw new Error('Expected values of a model on the native kernels.');
      const all = sizeOf(values.shape);
      const block = all === count ? 1 : 256;
      const [from, to] = [start / block, Math.ceil(end / block)];
      const part = starts.length === 1 ? values.part(0, all, values.shape) : values.part(from, to - from);
      handles.push(part);
      return part as Stored;
    };
    const tensors = Object.entries(state).map(([name, values]) => [name, take(values)] as const);
    const [value, dValue] = [take(parameter.value()), take(gradient)];
    return {
      update: {
        parameter: { ...parameter, value: () => value },
        gradient: dValue,
        state: Object.fromEntries(tensors.filter(([, values]) => !values.isPinned)),
        roundingKey,
      },
      state: Object.fromEntries(tensors.filter(([, values]) => values.isPinned)),
      gradient: dValue.isPinned ? dValue : undefined,
      dispose() {
        for (const handle of handles) handle.dispose();
      },
    };
  });
}
