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
  /** The pack that operations run on. */
  readonly pack: number;
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
  const z = tape.run([x], w, loraLinear(tape, w, givenInput(tape, x, w, form), form.layout, drop));
  return dora ? tape.run([z], w, doraScale(tape.kernels, tape.pass, dora, z, form.layout.y)) : z;
}

/** Runs (gelu(gate) · up) · wᵀ with an adapted weight. */
export function runAdaptedGeglu(tape: AdapterTape, gate: Value, up: Value, w: AdaptedWeight): Value {
  const { kernels } = tape;
  const { dora } = w.lora;
  const drop = dropoutOf(tape, w, gate, BY_TOKEN);
  if (dora && drop) {
    const x = tape.run([gate, up], null, kernels.geglu(gate, up));
    return runDoraWithDropout(tape, x, w, { form: { layout: BY_TOKEN, apply: kernels.linear }, dora, drop });
  }
  const z = tape.run([gate, up], w, loraLinear(tape, w, gegluInput(kernels, gate, up), BY_TOKEN, drop));
  return dora ? tape.run([z], w, doraScale(kernels, tape.pass, dora, z, false)) : z;
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
  const { kernels, pass } = tape;
  const dropout = { output: drop(x), inputsForBackward: [], saved: [], backward: (dy: Value) => [drop(dy)] };
  const dropped = tape.run([x], null, dropout);
  const rest = tape.run([x, dropped], null, subtraction(kernels, x, dropped));
  const base = tape.run([rest], null, form.apply(rest, w));
  const z = tape.run([dropped], w, loraLinear(tape, w, givenInput(tape, dropped, w, form), form.layout, null));
  const scaled = tape.run([z], w, doraScale(kernels, pass, dora, z, form.layout.y));
  return tape.run([base, scaled], null, addition(kernels, base, scaled));
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
  const tokenKeys = dropout && tape.pass.dropoutKeys(byFeature ? x.shape.at(-1)! : x.shape[0]!, tape.pack);
  if (!tokenKeys) return null;
  const options = { keys: moduleKeys(tokenKeys, dropout!), rate: dropout!.rate, byFeature };
  return (value) => tape.kernels.dropout(value, options);
}

/** The input x of a linear operation, which may have to be computed. */
interface Input {
  /** The values that x depends on. */
  readonly dependsOn: readonly Value[];
  /** x · Wᵀ, in the output's layout. */
  timesW(w: Weight): Value;
  /** x · Aᵀ by token: `[T, r]`. */
  timesA(a: Weight): Value;
  /** Computes x. */
  open(): OpenInput;
}

interface OpenInput {
  readonly x: Value;
  /** Frees x. Given the gradient of x, of which it takes ownership, it returns those of `dependsOn`. */
  close(dx?: Value): Value[];
}

const givenInput = ({ kernels }: AdapterTape, x: Value, w: AdaptedWeight, { layout, apply }: LinearForm): Input => ({
  dependsOn: [x],
  timesW: () => apply(x, w).output,
  timesA: (a) => times(kernels, x, a.value(), { x: layout.x, y: false }),
  open: () => ({ x, close: (dx) => (dx ? [dx] : []) }),
});

/** gelu(gate) · up: the largest value of a layer, and cheap. The backward pass recomputes it. */
const gegluInput = (kernels: Kernels, gate: Value, up: Value): Input => ({
  dependsOn: [gate, up],
  timesW: (w) => kernels.gegluLinear(gate, up, w).output,
  timesA: (a) => kernels.gegluLinear(gate, up, a).output,
  open() {
    const { output: x, backward } = kernels.geglu(gate, up);
    const close = (dx?: Value) => {
      x.dispose();
      const gradients = dx ? backward(dx) : [];
      dx?.dispose();
      return gradients;
    };
    return { x, close };
  },
});

/** x · Wᵀ + s · D(x) · Aᵀ · Bᵀ */
function loraLinear(tape: AdapterTape, w: AdaptedWeight, input: Input, layout: Layout, drop: Drop | null): OpResult {
  const { kernels } = tape;
  const { a, b, scaling } = w.lora;
  const ofA = { x: layout.x, y: false };
  const ofB = { x: false, y: layout.y };
  const base = input.timesW(w);
  const u = kernels.scale(drop ? droppedTimesA(kernels, input, a, ofA, drop) : input.timesA(a), scaling); // [T, r]
  const needsInputGradients = input.dependsOn.some((value) => tape.needsGradient(value));

  /** dy · W + D(du · A) */
  const inputGradients = (dy: Value, du: Value, shape: readonly number[]): Value => {
    const dx = inputGradient(kernels, dy, w.value(), layout, shape);
    if (!drop) return inputGradient(kernels, du, a.value(), ofA, shape, dx);
    const throughA = inputGradient(kernels, du, a.value(), ofA, shape);
    const dropped = drop(throughA);
    throughA.dispose();
    return kernels.add(dx, dropped);
  };
  return {
    output: times(kernels, u, b.value(), ofB, { addTo: base, isActivation: true }),
    inputsForBackward: input.dependsOn,
    saved: [u],
    backward(dy) {
      b.accumulate((sum) => weightGradient(kernels, dy, u, ofB, b.shape, sum));
      const du = kernels.scale(inputGradient(kernels, dy, b.value(), ofB, u.shape), scaling); // [T, r]
      const { x, close } = input.open();
      const seen = drop ? drop(x) : x;
      a.accumulate((sum) => weightGradient(kernels, du, seen, ofA, a.shape, sum));
      if (drop) seen.dispose();
      const gradients = close(needsInputGradients ? inputGradients(dy, du, x.shape) : undefined);
      du.dispose();
      return gradients;
    },
  };
}

/** D(x) · Aᵀ */
function droppedTimesA(kernels: Kernels, input: Input, a: Weight, layout: Layout, drop: Drop): Value {
  const { x, close } = input.open();
  const dropped = drop(x);
  const product = times(kernels, dropped, a.value(), layout);
  dropped.dispose();
  close();
  return product;
}
