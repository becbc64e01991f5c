import type { KeyValues } from './model';
import type { Kernels, Value } from './ops/kernels';

/** Keys and values of all tokens so far, block by block. */
export interface Cache extends KeyValues {
  dispose(): void;
}

export function createCache(kernels: Kernels): Cache {
  const held: { k: Value; v: Value }[] = [];
  const append = (before: Value | undefined, next: Value) => (before ? kernels.join(before, next) : next.clone());
  const free = (entry: { k: Value; v: Value } | undefined) => {
    entry?.k.dispose();
    entry?.v.dispose();
  };
  return {
    extend(layer, k, v) {
      const before = held[layer];
      held[layer] = { k: append(before?.k, k), v: append(before?.v, v) };
      free(before);
      return held[layer];
    },
    dispose() {
      for (const entry of held) free(entry);
      held.length = 0;
    },
  };
}
