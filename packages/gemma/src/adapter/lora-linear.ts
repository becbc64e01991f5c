import type { Kernels, OpResult, Value, Weight } from '../ops/contract';
import { addition, type Dora, doraScale, subtraction } from './dora';
import { type Dropout, moduleKeys, type Pass } from './dropout';
import { inputGradient, type Layout, times, weightGradient } from './products';

// LoRA (arXiv 2106.09685): a frozen weight W `[out, in]` acts as W + s · B · A, with A `[r, in]`, B `[out, r]` and a factor s:
//   u = s · x · Aᵀ, y = x · Wᵀ + u · Bᵀ
// Besides x, the backward pass reads only u `[T, r]`:
//   dB = dyᵀ · u, du = s · dy · B, dA = duᵀ · x, dx = dy · W + du · A
// Dropout D changes the input of A only:
//   u = s · D(x) · Aᵀ, dA = duᵀ · D(x), dx = dy · W + D(du · A)

/** The trainable part of an adapted weight. */
export interface Lora<W extends Weight = Weight> {
  /** `[r, in]` */
  readonly a: W;
  /** `[out, r]` */
  readonly b: W;
  readonly scaling: number;
  readonly dora: Dora<W> | null;
  readonly dropout: Dropout | null;
}

/** A frozen weight with an adapter. */
export interface AdaptedWeight<W extends Weight = Weight> extends Weight {
  readonly trainable: false;
  readonly lora: Lora<W>;
}

export const isAdapted = <W extends Weight>(w: W | AdaptedWeight<W>): w is AdaptedWeight<W> => 'lora' in w;

/** The parameters of an adapted weight. */
export const loraParameters = <W extends Weight>({ a, b, dora }: Lora<W>): W[] =>
  dora ? [a, b, dora.magnitude] : [a, b];

/** The tape, as adapters use it. */
export interface AdapterTape {
  readonly pass: Pass;
  readonly kernels: Kernels;
  /** Runs an operation as a step of the pass. `w` is its weight, if any. */
  run(inputs: readonly Value[], w: Weight | null, result: OpResult): Value;
  /** Whether gradients flow to a value. */
  needsGradient(value: Value): boolean;
}

/** A kind of linear operation. */
export interface LinearForm {
  readonly layout: Layout;
  /** x · wᵀ */
  apply(x: Value, w: Weight): OpResult;
}

/** Runs a linear operation with an adapted weight: `[T, in]` → `[T, out]`, or one of them by feature. */
export function runAdapted(tape: AdapterTape, x: Value, w: AdaptedWeight, form: LinearForm): Value {
  const { dora } = w.lora;
  const drop = dropoutOf(tape, w, x, form.layout);
  if (dora && drop) return runDoraWithDropout(tape, x, w, { form, dora, drop });
  const open = () => ({ x, close: (dx?: Value) => (dx ? [dx] : []) });
  const source = { inputs: [x], multiply: () => form.apply(x, w).output, open };
  const z = tape.run([x], w, loraLinear(tape, w, source, form.layout, drop));
  return dora ? tape.run([z], w, doraScale(tape.kernels, tape.pass, dora, z, form.layout.y)) : z;
}

/** (gelu(gate) · up) · wᵀ with an adapted weight. The product gelu(gate) · up is computed again in the backward pass. */
export function runAdaptedGeglu(tape: AdapterTape, gate: Value, up: Value, w: AdaptedWeight): Value {
  const { kernels } = tape;
  const form = { layout: BY_TOKEN, apply: kernels.linear };
  const { dora } = w.lora;
  const drop = dropoutOf(tape, w, gate, BY_TOKEN);
  const inputs = [gate, up];
  if (dora && drop) {
    return runDoraWithDropout(tape, tape.run(inputs, null, kernels.geglu(gate, up)), w, { form, dora, drop });
  }
  const open = () => {
    const activation = kernels.geglu(gate, up);
    const close = (dx?: Value) => {
      activation.output.dispose();
      const gradients = dx ? activation.backward(dx) : [];
      dx?.dispose();
      return gradients;
    };
    return { x: activation.output, close };
  };
  const source = { inputs, multiply: () => kernels.gegluLinear(gate, up, w).output, open };
  const z = tape.run(inputs, w, loraLinear(tape, w, source, BY_TOKEN, drop));
  return dora ? tape.run([z], w, doraScale(tape.kernels, tape.pass, dora, z, false)) : z;
}

const BY_TOKEN: Layout = { x: false, y: false };

type Drop = (x: Value) => Value;

/** Dropout of a weight's inputs, if it has any in this pass. */
function dropoutOf(
  tape: AdapterTape,
  { lora: { dropout } }: AdaptedWeight,
  x: Value,
  { x: byFeature }: Layout,
): Drop | null {
  const tokenKeys = dropout && tape.pass.dropoutKeys(byFeature ? x.shape.at(-1)! : x.shape[0]!);
  if (!tokenKeys) return null;
  const options = { keys: moduleKeys(tokenKeys, dropout!), rate: dropout!.rate, byFeature };
  return (value) => tape.kernels.dropout(value, options);
}

/** The input x of an operation, which may have to be computed. */
interface Source {
  /** The values that x depends on. */
  readonly inputs: readonly Value[];
  /** x · Wᵀ */
  multiply(): Value;
  /** Computes x. `close` frees it and, given its gradient, which it takes ownership of, returns the gradients of `inputs`. */
  open(): { readonly x: Value; close(dx?: Value): Value[] };
}

/** x · Wᵀ + s · D(x) · Aᵀ · Bᵀ */
function loraLinear(tape: AdapterTape, w: AdaptedWeight, source: Source, layout: Layout, drop: Drop | null): OpResult {
  const { kernels } = tape;
  const { a, b, scaling } = w.lora;
  const [ofA, ofB] = [
    { x: layout.x, y: false },
    { x: false, y: layout.y },
  ];
  const withInput = (use: (x: Value) => void, gradient: (x: Value) => Value | undefined = () => undefined): Value[] => {
    const { x, close } = source.open();
    const seen = drop ? drop(x) : x;
    use(seen);
    if (drop) seen.dispose();
    return close(gradient(x));
  };
  const base = source.multiply();
  let u!: Value; // [T, r]
  withInput((x) => {
    u = kernels.scale(times(kernels, x, a.value(), ofA), scaling);
  });
  const needsInputGradients = source.inputs.some((input) => tape.needsGradient(input));
  return {
    output: times(kernels, u, b.value(), ofB, base),
    inputsForBackward: source.inputs,
    saved: [u],
    backward(dy) {
      b.accumulate((sum) => weightGradient(kernels, dy, u, ofB, b.shape, sum));
      const du = kernels.scale(inputGradient(kernels, dy, b.value(), ofB, u.shape), scaling); // [T, r]
      const inputGradients = withInput(
        (x) => a.accumulate((sum) => weightGradient(kernels, du, x, ofA, a.shape, sum)),
        ({ shape }) => {
          if (!needsInputGradients) return undefined;
          const dx = inputGradient(kernels, dy, w.value(), layout, shape);
          if (!drop) return inputGradient(kernels, du, a.value(), ofA, shape, dx);
          const dropped = inputGradient(kernels, du, a.value(), ofA, shape);
          const rest = drop(dropped);
          dropped.dispose();
          return kernels.add(dx, rest);
        },
      );
      du.dispose();
      return inputGradients;
    },
  };
}

/**
 * PEFT's DoRA with dropout, x · Wᵀ + (g − 1) · D(x) · Wᵀ + g · u · Bᵀ, as (x − D(x)) · Wᵀ + g · (D(x) · Wᵀ + u · Bᵀ).
 */
function runDoraWithDropout(
  tape: AdapterTape,
  x: Value,
  w: AdaptedWeight,
  { form, dora, drop }: { readonly form: LinearForm; readonly dora: Dora; readonly drop: Drop },
): Value {
  const dropped = tape.run([x], null, {
    output: drop(x),
    inputsForBackward: [],
    saved: [],
    backward: (dy) => [drop(dy)],
  });
  const rest = tape.run([x, dropped], null, subtraction(tape.kernels, x, dropped));
  const base = tape.run([rest], null, form.apply(rest, w));
  const source = {
    inputs: [dropped],
    multiply: () => form.apply(dropped, w).output,
    open: () => ({ x: dropped, close: (dx?: Value) => (dx ? [dx] : []) }),
  };
  const z = tape.run([dropped], w, loraLinear(tape, w, source, form.layout, null));
  const scaled = tape.run([z], w, doraScale(tape.kernels, tape.pass, dora, z, form.layout.y));
  return tape.run([base, scaled], null, addition(tape.kernels, base, scaled));
}
