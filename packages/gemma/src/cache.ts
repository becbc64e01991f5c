import type { Kernels, Value } from './ops/contract';
import type { ModelInput, Segment } from './pack';

/** Keys and values of earlier tokens, one pair of tensors per layer. */
export interface KeyValueCache {
  /**
   * Appends a layer's new keys and values `[K, D, T]`. Returns all of the layer's keys and values `[K, D, S]`, owned by the
   * cache.
   */
  append(kernels: Kernels, layer: number, k: Value, v: Value): { readonly k: Value; readonly v: Value };
}

/** The cache of sequences that are generated side by side. */
export interface GenerationCache extends KeyValueCache {
  /**
   * Prepares a pass over the next tokens of some sequences. Its output rows are each sequence's last token.
   *
   * @throws RangeError where a sequence exceeds its capacity
   */
  next(tokens: readonly { readonly sequence: number; readonly ids: ArrayLike<number> }[]): ModelInput;
  dispose(): void;
}

/** Column numbers are 32-bit integers. */
const MAX_COLUMNS = 2 ** 31 - 1;

/**
 * Makes a cache with room for `capacities[i]` tokens of sequence i. Each sequence has consecutive columns of the tensors
 * `[K, D, Σ capacities]`, so that attention reads its keys in place. The tensors are made in the first pass.
 */
export function createCache(capacities: readonly number[]): GenerationCache {
  const starts = capacities.map((_, i) => capacities.slice(0, i).reduce((sum, n) => sum + n, 0));
  const lengths = capacities.map(() => 0);
  const total = capacities.reduce((sum, n) => sum + n, 0);
  if (total > MAX_COLUMNS) {
    throw new RangeError(
      `cache: expected at most ${MAX_COLUMNS} tokens of all prompts and answers together, found ${total}. Generate fewer answers at ` +
        'once, or lower the number of new tokens.',
    );
  }
  const layers: { k: Value; v: Value }[] = [];
  let columns = new Int32Array(); // of the current pass's tokens
  return {
    next(tokens) {
      const ids: number[] = [];
      const positions: number[] = [];
      const segments: Segment[] = [];
      const newColumns: number[] = [];
      for (const { sequence, ids: newIds } of tokens) {
        const before = lengths[sequence]!;
        const length = before + newIds.length;
        if (length > capacities[sequence]!) {
          throw new RangeError(
            `cache: sequence ${sequence}: expected at most ${capacities[sequence]} tokens, its capacity, found ${length}.`,
          );
        }
        const keyRanges = [{ start: starts[sequence]!, count: length }];
        segments.push({ start: ids.length, count: newIds.length, keyRanges });
        for (let i = 0; i < newIds.length; i++) {
          ids.push(newIds[i]!);
          positions.push(before + i);
          newColumns.push(starts[sequence]! + before + i);
        }
        lengths[sequence] = length;
      }
      columns = Int32Array.from(newColumns);
      return {
        ids: Int32Array.from(ids),
        positions: Int32Array.from(positions),
        segments,
        outputRows: Int32Array.from(segments, ({ start, count }) => start + count - 1),
        outputSegments: segments.map(({ keyRanges }, i) => ({ start: i, count: 1, keyRanges })),
      };
    },
    append(kernels, layer, k, v) {
      const held = layers[layer];
      layers[layer] = {
        k: kernels.setColumns(held?.k ?? null, columns, k, total),
        v: kernels.setColumns(held?.v ?? null, columns, v, total),
      };
      return layers[layer];
    },
    dispose() {
      for (const { k, v } of layers.splice(0)) {
        k.dispose();
        v.dispose();
      }
    },
  };
}
