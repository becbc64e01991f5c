import type { OptimizerKernel, Update, Values } from '@wpo/trainer';
import { nativeOptimizer } from './optimizer';
import { program } from './program';
import { type StoredType, StoredVariable } from './store';

// Updates on a GPU with the optimizer's state in pinned memory of the CPU. A part of the state is copied to the GPU, updated there
// and copied back. While one part is updated, the next is copied in, and the one before is copied out.

/** Values of a parameter that are updated at once: 64 MB of each float32 moment. A multiple of the blocks of 8-bit moments. */
export const OFFLOADED_PART = 1 << 24;

/** Rules that update each value by itself, so that a parameter can be updated in parts. */
const BY_VALUE = ['AdamW', 'AdamW8bit', 'Lion'];

type Stored = StoredVariable<Exclude<StoredType, 'int16'>>;

/** A part of a parameter, whose state is in pinned memory. */
interface Part {
  readonly update: Update;
  /** Of the state, by its names. */
  readonly pinned: Readonly<Record<string, Stored>>;
  dispose(): void;
}

/**
 * Returns updates on a GPU with the optimizer's state in memory of the CPU. On the GPU it takes that of two parts. For AdamW, also with
 * 8-bit moments, and for Lion. It needs native operations on a GPU.
 *
 * @param part values of a parameter that are updated at once, a multiple of 256; for tests
 */
export function offloadedOptimizer(part = OFFLOADED_PART): OptimizerKernel {
  const buffers = [new Map<string, Stored>(), new Map<string, Stored>()] as const;
  /** Memory of the GPU for a part of the state. */
  const buffer = (of: Map<string, Stored>, name: string, { dtype, shape }: Stored) => {
    const [count, key] = [shape[0]!, `${name} ${dtype}`];
    const known = of.get(key);
    if (known && known.shape[0]! >= count) return known.part(0, count);
    known?.dispose();
    const made = StoredVariable.zeros([count], dtype, program);
    of.set(key, made);
    return made.part(0, count);
  };
  /** Begins to copy a part of the state to the GPU. */
  const fetch = ({ pinned }: Part, of: Map<string, Stored>) =>
    Object.entries(pinned).map(([name, from]) => {
      const into = buffer(of, name, from);
      program.recordInPlace('WpoCopyFromPinned', [into, from]);
      return [name, into] as const;
    });
  return {
    zeros: (shape, type) => StoredVariable.pinnedZeros(shape, type === 'U8' ? 'uint8' : 'float32', program),
    update(rule, updates, scalars) {
      if (!BY_VALUE.includes(rule.name)) {
        throw new Error(
          `${rule.name}: its state cannot be in memory of the CPU: expected one of ${BY_VALUE.join(', ')}.`,
        );
      }
      const parts = updates.flatMap((update) => partsOf(update, part));
      let next = parts[0] && fetch(parts[0], buffers[0]);
      for (const [i, { update, pinned, dispose }] of parts.entries()) {
        const state = Object.fromEntries(next!);
        next = parts[i + 1] && fetch(parts[i + 1]!, buffers[(i + 1) % 2]!);
        for (const values of Object.values(state)) program.recordInPlace('WpoWaitForCopies', [values]);
        nativeOptimizer.update(rule, [{ ...update, state }], scalars);
        for (const [name, values] of Object.entries(state)) {
          program.recordInPlace('WpoCopyToPinned', [pinned[name]!, values]);
          values.dispose();
        }
        dispose();
      }
      program.run(); // begins the last copies
    },
    dispose() {
      for (const buffer of buffers) {
        for (const values of buffer.values()) values.dispose();
        buffer.clear();
      }
    },
  };
}

const sizeOf = (shape: readonly number[]) => shape.reduce((size, n) => size * n, 1);

/** Divides a parameter into parts of `size` values. A tensor of the state has a value for each of them, or for 256. */
function partsOf({ parameter, gradient, state, roundingKey }: Update, size: number): Part[] {
  const count = sizeOf(parameter.shape);
  const held = parameter.value();
  if (held instanceof StoredVariable && held.fileType === 'BF16') {
    throw new Error(
      `${parameter.name}: stochastic rounding depends on a value's index in the whole parameter: expected other weights.`,
    );
  }
  const starts = Array.from({ length: Math.ceil(count / size) }, (_, i) => i * size);
  return starts.map((start) => {
    const end = Math.min(count, start + size);
    const take = (values: Values) => {
      if (!(values instanceof StoredVariable)) throw new Error('Expected values of a model on the native kernels.');
      const block = sizeOf(values.shape) === count ? 1 : 256;
      const [from, to] = [start / block, Math.ceil(end / block)];
      return values.part(from, to - from) as Stored;
    };
    const pinned = Object.fromEntries(Object.entries(state).map(([name, values]) => [name, take(values)]));
    const [value, dValue] = [take(parameter.value()), take(gradient)];
    return {
      update: { parameter: { ...parameter, value: () => value }, gradient: dValue, state: {}, roundingKey },
      pinned,
      dispose() {
        for (const values of [value, dValue, ...Object.values(pinned)]) values.dispose();
      },
    };
  });
}
