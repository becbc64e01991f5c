import type { Kernels, ProductOptions, Value } from '../ops/contract';

// The products of a linear operation y = x · wᵀ and of its gradients, in the layouts of the model's values: by token, `[T, n]`,
// or by feature, `[heads, D, T]`. Each is added to `addTo` if given, which it takes ownership of.

/** Whether values are by feature. */
export interface Layout {
  readonly x: boolean;
  readonly y: boolean;
}

const numberOf = (tokensLast: boolean, { shape }: Value) => (tokensLast ? shape.at(-1)! : shape[0]!);

/** x · wᵀ. `[out, in]` → y, by token or as `[out, T]`. */
export function times(
  kernels: Kernels,
  x: Value,
  w: Value,
  by: Layout,
  options: Pick<ProductOptions, 'addTo' | 'isActivation'> = {},
): Value {
  const shape = options.addTo?.shape;
  const [tokens, out] = [numberOf(by.x, x), w.shape[0]!];
  return by.y
    ? kernels.product(w, x, { ...options, transposeB: !by.x, shape: shape ?? [out, tokens] })
    : kernels.product(x, w, { ...options, transposeA: by.x, transposeB: true, shape: shape ?? [tokens, out] });
}

/** dy · w, of x's shape. */
export const inputGradient = (
  kernels: Kernels,
  dy: Value,
  w: Value,
  by: Layout,
  shape: readonly number[],
  addTo?: Value | null,
): Value =>
  by.x
    ? kernels.product(w, dy, { transposeA: true, transposeB: !by.y, shape, addTo })
    : kernels.product(dy, w, { transposeA: by.y, shape, addTo });

/** dyᵀ · x: `[out, in]`. */
export const weightGradient = (
  kernels: Kernels,
  dy: Value,
  x: Value,
  by: Layout,
  shape: readonly number[],
  addTo?: Value | null,
): Value => kernels.product(dy, x, { transposeA: !by.y, transposeB: by.x, shape, addTo });
