import type { AttentionOptions, Kernels, OpResult, QueryBlock, RotaryTables, Value, Weight } from './ops/contract';

interface Step {
  readonly inputs: readonly Value[];
  readonly result: OpResult;
}

/**
 * Runs operations, owns their results and, if it records, runs their backward passes in reverse order.
 *
 * The backward pass frees each step's output and saved values as soon as it no longer needs them, so a tape's memory only
 * shrinks once `backward` has started.
 */
export class Tape {
  private steps: Step[] = [];
  private readonly owned = new Set<Value>();

  /** @param record whether `backward` will be called; false keeps only outputs */
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
  rope(x: Value, tables: RotaryTables): Value {
    return this.run([x], this.kernels.rope(x, tables));
  }
  attention(q: Value, k: Value, v: Value, blocks: readonly QueryBlock[], options: AttentionOptions): Value {
    return this.run([q, k, v], this.kernels.attention(q, k, v, blocks, options));
  }
  gegluLinear(gate: Value, up: Value, w: Weight): Value {
    return this.run([gate, up], this.kernels.gegluLinear(gate, up, w));
  }
  selectRows(x: Value, indices: Int32Array): Value {
    return this.run([x], this.kernels.selectRows(x, indices));
  }

  /**
   * Returns d loss / d `input`, given `dOutput` = d loss / d `output`, and adds the weights' gradients. Disposes `dOutput`
   * and everything on the tape.
   */
  backward(output: Value, dOutput: Value, input: Value): Value {
    const gradients = new Map<Value, Value>([[output, dOutput]]);
    for (let step = this.steps.pop(); step; step = this.steps.pop()) {
      const { inputs, result } = step;
      const gradient = gradients.get(result.output);
      if (gradient) {
        gradients.delete(result.output);
        const inputGradients = result.backward(gradient);
        gradient.dispose();
        inputs.forEach((value, i) => {
          const sum = gradients.get(value);
          gradients.set(value, sum ? this.kernels.add(sum, inputGradients[i]!) : inputGradients[i]!);
        });
      }
      this.free(result);
    }
    const result = gradients.get(input);
    gradients.delete(input);
    for (const unused of gradients.values()) unused.dispose();
    if (!result)
      throw new Error('Tape.backward: expected an output that depends on the input, found one that does not.');
    return result;
  }

  /** Frees what `backward` does not read. */
  prune(): void {
    const needed = new Set(this.steps.flatMap(({ result }) => result.inputsForBackward));
    const { output } = this.steps.at(-1)!.result;
    for (const value of this.owned) {
      if (value === output || needed.has(value)) continue;
      this.owned.delete(value);
      value.dispose();
    }
  }

  /** Memory held, in bytes: owned outputs and saved values. */
  bytes(): number {
    const values = [...this.owned, ...this.steps.flatMap(({ result }) => result.saved)];
    return values.reduce((total, { shape }) => total + 4 * shape.reduce((size, n) => size * n, 1), 0);
  }

  /** Passes ownership of `value` to the caller. */
  release(value: Value): Value {
    this.owned.delete(value);
    return value;
  }

  /** Disposes everything that the tape owns. */
  dispose(): void {
    for (const { result } of this.steps) for (const value of result.saved) value.dispose();
    for (const value of this.owned) value.dispose();
    this.steps = [];
    this.owned.clear();
  }

  private run(inputs: Value[], result: OpResult): Value {
    this.owned.add(result.output);
    if (this.record) this.steps.push({ inputs, result });
    else for (const value of result.saved) value.dispose();
    return result.output;
  }

  private free({ output, saved }: OpResult): void {
    for (const value of saved) value.dispose();
    if (this.owned.delete(output)) output.dispose();
  }
}
