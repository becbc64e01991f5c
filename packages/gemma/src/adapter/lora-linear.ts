import type { Kernels, OpResult, Value, Weight } from '../ops/contract';

// LoRA (arXiv 2106.09685): a frozen weight W `[out, in]` acts as W + scaling · B · A, with A `[r, in]` and B `[out, r]`:
//   u = scaling · x · Aᵀ, y = x · Wᵀ + u · Bᵀ
// Only u `[T, r]` is kept for the backward pass, besides x:
//   dB = dyᵀ · u, du = scaling · dy · B, dA = duᵀ · x, dx = dy · W + du · A

/** The trainable part of an adapted weight. */
export interface Lora<W extends Weight = Weight> {
  /** `[r, in]` */
  readonly a: W;
  /** `[out, r]` */
  readonly b: W;
  readonly scaling: number;
}

/** A frozen weight with an adapter. */
export interface AdaptedWeight<W extends Weight = Weight> extends Weight {
  readonly trainable: false;
  readonly lora: Lora<W>;
}

export const isAdapted = (w: Weight): w is AdaptedWeight => 'lora' in w;

/** How a linear operation multiplies: its input by W and by A, which share its layout, and u by B. */
export interface LinearKernels {
  byW(w: Weight): OpResult;
  byA(a: Weight): OpResult;
  byB(u: Value, b: Weight): OpResult;
}

/**
 * A linear operation with an adapted weight.
 *
 * @param needsInputGradients if false, `backward` returns no gradients
 */
export function loraLinear(
  kernels: Kernels,
  w: AdaptedWeight,
  { byW, byA, byB }: LinearKernels,
  needsInputGradients: boolean,
): OpResult {
  const { a, b, scaling } = w.lora;
  const base = byW(w);
  const down = byA(a);
  const u = kernels.scale(down.output, scaling); // [T, r]
  const up = byB(u, b);
  return {
    output: kernels.add(base.output, up.output),
    inputsForBackward: base.inputsForBackward,
    saved: [u, ...base.saved, ...down.saved, ...up.saved],
    backward(dy) {
      const du = kernels.scale(up.backward(dy)[0]!, scaling); // [T, r]
      const fromA = down.backward(du);
      du.dispose();
      if (needsInputGradients) return base.backward(dy).map((dx, i) => kernels.add(dx, fromA[i]!));
      for (const dx of fromA) dx.dispose();
      return [];
    },
  };
}
