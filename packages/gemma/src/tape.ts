import type { AttentionScale, AttentionSpan, Kernels, Result, Rotation, Value, Weight } from './ops/kernels';

interface Step {
  readonly inputs: readonly Value[];
  readonly result: Result;
}

/**
 * Runs operations in the order called, owns what they make, and walks back over them.
 *
 * Frees each step's result and what it saved as soon as the backward pass is behind it, so a tape's memory only shrinks
 * from the moment that `backward` starts.
 */
export class Tape {
  private steps: Step[] = [];
  private readonly owned = new Set<Value>();

  /** `record: false` keeps nothing for a backward pass. */
  constructor(
    readonly kernels: Kernels,
    private readonly record: boolean,
  ) {}

  linear(x: Value, w: Weight): Value {
    return this.run([x], this.kernels.linear(x, w));
  }
  linearToHeads(x: Value, w: Weight, heads: number): Value {
    return this.run([x], this.kernels.linearToHeads(x, w, heads));
  }
  linearFromHeads(x: Value, w: Weight): Value {
    return this.run([x], this.kernels.linearFromHeads(x, w));
  }
  rmsNorm(x: Value, w: Weight, epsilon: number, residual?: Value): Value {
    return this.run(residual ? [x, residual] : [x], this.kernels.rmsNorm(x, w, epsilon, residual));
  }
  rope(x: Value, rotation: Rotation): Value {
    return this.run([x], this.kernels.rope(x, rotation));
  }
  attention(q: Value, k: Value, v: Value, spans: readonly AttentionSpan[], scale: AttentionScale): Value {
    return this.run([q, k, v], this.kernels.attention(q, k, v, spans, scale));
  }
  gatedLinear(gate: Value, up: Value, w: Weight): Value {
    return this.run([gate, up], this.kernels.gatedLinear(gate, up, w));
  }
  rows(x: Value, indices: Int32Array): Value {
    return this.run([x], this.kernels.rows(x, indices));
  }

  /** d loss / d `input`, given `dy` = d loss / d `output` (freed here). Ends the tape: everything on it is freed. */
  backward(output: Value, dy: Value, input: Value): Value {
    const gradients = new Map<Value, Value>([[output, dy]]);
    for (let step = this.steps.pop(); step; step = this.steps.pop()) {
      const gradient = gradients.get(step.result.value);
      if (gradient) {
        gradients.delete(step.result.value);
        const into = step.result.backward(gradient);
        gradient.dispose();
        step.inputs.forEach((value, i) => {
          const before = gradients.get(value);
          gradients.set(value, before ? this.kernels.sum(before, into[i]!) : into[i]!);
        });
      }
      this.free(step.result);
    }
    const result = gradients.get(input);
    gradients.delete(input);
    for (const unused of gradients.values()) unused.dispose();
    if (!result) throw new Error('the output does not depend on the input that a gradient was asked for');
    return result;
  }

  /** Frees what no backward pass will read; what is left is the memory that a recorded block costs. */
  prune(): void {
    const read = new Set(this.steps.flatMap((step) => step.result.reads));
    const { value: output } = this.steps.at(-1)!.result;
    for (const value of this.owned) {
      if (value === output || read.has(value)) continue;
      this.owned.delete(value);
      value.dispose();
    }
  }

  /** Bytes held: values that the tape owns and what its steps saved. */
  bytes(): number {
    const values = [...this.owned, ...this.steps.flatMap((step) => step.result.saved)];
    return values.reduce((total, { shape }) => total + 4 * shape.reduce((size, n) => size * n, 1), 0);
  }

  /** Hands `value` to the caller, who frees it. */
  release(value: Value): Value {
    this.owned.delete(value);
    return value;
  }

  /** Frees everything that the tape still owns. */
  dispose(): void {
    for (const step of this.steps) for (const value of step.result.saved) value.dispose();
    for (const value of this.owned) value.dispose();
    this.steps = [];
    this.owned.clear();
  }

  private run(inputs: Value[], result: Result): Value {
    this.owned.add(result.value);
    if (this.record) this.steps.push({ inputs, result });
    else for (const value of result.saved) value.dispose();
    return result.value;
  }

  private free({ value, saved }: Result): void {
    for (const kept of saved) kept.dispose();
    if (this.owned.delete(value)) value.dispose();
  }
}
