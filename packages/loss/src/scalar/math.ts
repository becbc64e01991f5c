/** a − b, and 0 where both are equal: −∞ − (−∞) would be NaN. */
export const difference = (a: number, b: number): number => (a === b ? 0 : a - b);

/** a · b, and 0 where either is 0: 0 · ∞ would be NaN. */
export const product = (a: number, b: number): number => a && b && a * b;

/** σ(x) = 1 / (1 + e^−x). */
export const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** σ′(x) = σ(x) σ(−x). */
export const sigmoidDerivative = (x: number): number => sigmoid(x) * sigmoid(-x);

/** log(1 + e^x) = −log σ(−x), without overflow on either side. Its derivative is σ(x). */
export const softplus = (x: number): number => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));

export const sum = (xs: readonly number[]): number => xs.reduce((a, b) => a + b, 0);
