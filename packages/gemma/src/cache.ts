import type { KeyValues } from './model';
import type { Value } from './ops/contract';
import type { Segment, Sequence } from './pack';

/** Keys and values of sequences that grow side by side, block by block. */
export interface Cache extends KeyValues {
  /**
   * Lays out the next tokens of some sequences as one forward pass, of which each sequence's last row is read; their keys
   * and values go into the cache as the pass runs.
   */
  next(tokens: readonly { readonly sequence: number; readonly ids: ArrayLike<number> }[]): Sequence;
  dispose(): void;
}

/**
 * Room for `capacities[i]` tokens of sequence i, side by side: `[K, D, Σ capacities]` a block, made at the first pass.
 * A sequence's columns follow on from each other, so that attention reads them where they lie.
 */
export function createCache(capacities: readonly number[]): Cache {
  const starts = capacities.map((_, i) => capacities.slice(0, i).reduce((sum, n) => sum + n, 0));
  const seen = capacities.map(() => 0);
  const total = capacities.reduce((sum, n) => sum + n, 0);
  const held: { k: Value; v: Value }[] = [];
  let columns = new Int32Array();
  return {
    next(tokens) {
      const ids: number[] = [];
      const positions: number[] = [];
      const segments: Segment[] = [];
      const at: number[] = [];
      for (const { sequence, ids: own } of tokens) {
        const before = seen[sequence]!;
        const length = before + own.length;
        if (length > capacities[sequence]!) {
          throw new RangeError(
            `sequence ${sequence} has room for ${capacities[sequence]} tokens, ${length} were given`,
          );
        }
        segments.push({ row: ids.length, rows: own.length, keys: [{ start: starts[sequence]!, count: length }] });
        for (let i = 0; i < own.length; i++) {
          ids.push(own[i]!);
          positions.push(before + i);
          at.push(starts[sequence]! + before + i);
        }
        seen[sequence] = length;
      }
      columns = Int32Array.from(at);
      return {
        ids: Int32Array.from(ids),
        positions: Int32Array.from(positions),
        segments,
        rows: Int32Array.from(segments, ({ row, rows }) => row + rows - 1),
        readSegments: segments.map(({ keys }, row) => ({ row, rows: 1, keys })),
      };
    },
    extend(kernels, layer, k, v) {
      const { k: keys, v: values } = held[layer] ?? { k: null, v: null };
      held[layer] = {
        k: kernels.setColumns(keys, columns, k, total),
        v: kernels.setColumns(values, columns, v, total),
      };
      return held[layer];
    },
    dispose() {
      for (const { k, v } of held.splice(0)) {
        k.dispose();
        v.dispose();
      }
    },
  };
}
