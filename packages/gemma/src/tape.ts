import type { AttentionOptions, Kernels, OpResult, QueryBlock, RotaryTables, Value, Weight } from './ops/contract';

interface Step {
  readonly inputs: readonly Value[];
  readonly output: Value;
  /** The inputs that `backward` reads. */
  readonly inputsForBackward: readonly Value[];
  readonly saved: readonly Value[];
  /** Gradients of the inputs. Takes ownership of `dOutput`. */
  backward(dOutput: Value): Value[];
  /** Frees what is kept for `backward`. */
  dispose(): void;
}

export interface TapeOptions {
  /** Whether `backward` will be called. If false, the tape keeps nothing for it. */
  readonly record: boolean;
  /** Memory that `checkpoint` may use to keep activations, in bytes. Default 0: recompute everything. */
  readonly activationBytes?: number;
}

/**
 * Runs operations, owns their results and, if it records, runs their backward passes in reverse order.
 *
 * The backward pass frees each step's memory as soon as it is no longer needed, so a tape's memory only shrinks once
 * `backward` has started.
 */
export class Tape {
  private steps: Step[] = [];
  private readonly owned = new Set<Value>();
  private bytesLeft: number;
  private lastPartBytes = 0;
  readonly recording: boolean;

  constructor(
    readonly kernels: Kernels,
    { record, activationBytes = 0 }: TapeOptions,
  ) {
    this.recording = record;
    this.bytesLeft = activationBytes;
  }

  embedding(ids: Int32Array, w: Weight, scale: number): Value {
    return this.run([], this.kernels.embedding(ids, w, scale));
  }
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
  rotaryTables(positions: Int32Array, headDim: number, theta: number): RotaryTables {
    const tables = this.kernels.rotaryTables(positions, headDim, theta);
    this.owned.add(tables.cos).add(tables.sin);
    return tables;
  }

  /**
   * Runs a part of the model, such as a layer, on a tape of its own. Its activations are kept for the backward pass as long
   * as they fit in `activationBytes`; otherwise only `x` is kept and the backward pass recomputes the part. A tape that does
   * not record frees `x`.
   */
  checkpoint(x: Value, part: (tape: Tape, x: Value) => Value): Value {
    const runPart = (record: boolean) => {
      const tape = new Tape(this.kernels, { record });
      const output = tape.release(part(tape, x));
      if (record) tape.prune();
      else tape.dispose();
      return { tape, output };
    };
    // Parts are layers, of about equal size: do not record one that will not fit.
    const mayFit = this.recording && this.bytesLeft > 0 && this.lastPartBytes <= this.bytesLeft;
    const { tape, output } = runPart(mayFit);
    this.owned.add(output);
    if (!this.recording) {
      this.release(x).dispose();
      return output;
    }
    if (mayFit) this.lastPartBytes = tape.bytes();
    const kept = mayFit && this.lastPartBytes <= this.bytesLeft;
    if (kept) this.bytesLeft -= this.lastPartBytes;
    else tape.dispose();
    this.steps.push({
      inputs: [x],
      output,
      inputsForBackward: [x],
      saved: [],
      backward: (dOutput) => {
        if (kept) return [tape.backward(output, dOutput, x)];
        const again = runPart(true);
        again.output.dispose();
        return [again.tape.backward(again.output, dOutput, x)];
      },
      dispose: () => tape.dispose(),
    });
    return output;
  }

  /**
   * Adds the weights' gradients, given `dOutput` = d loss / d `output`. Disposes `dOutput` and the tape's results.
   *
   * @param input returns d loss / d `input`, owned by the caller
   * @throws Error where `output` does not depend on `input`
   */
  backward(output: Value, dOutput: Value): null;
  backward(output: Value, dOutput: Value, input: Value): Value;
  backward(output: Value, dOutput: Value, input?: Value): Value | null {
    const gradients = new Map<Value, Value>([[output, dOutput]]);
    for (let step = this.steps.pop(); step; step = this.steps.pop()) {
      const gradient = gradients.get(step.output);
      gradients.delete(step.output);
      if (this.owned.delete(step.output)) step.output.dispose(); // no backward reads its own output
      if (gradient) {
        const inputGradients = step.backward(gradient);
        step.inputs.forEach((value, i) => {
          const sum = gradients.get(value);
          gradients.set(value, sum ? this.kernels.add(sum, inputGradients[i]!) : inputGradients[i]!);
        });
      }
      step.dispose();
    }
    const result = input && gradients.get(input);
    for (const gradient of gradients.values()) if (gradient !== result) gradient.dispose();
    if (input && !result) throw new Error('Tape.backward: expected an output that depends on the input.');
    return result ?? null;
  }

  /** Frees what `backward` does not read. */
  prune(): void {
    const needed = new Set(this.steps.flatMap(({ inputsForBackward }) => inputsForBackward));
    const { output } = this.steps.at(-1)!;
    for (const value of this.owned) {
      if (value === output || needed.has(value)) continue;
      this.owned.delete(value);
      value.dispose();
    }
  }

  /** Memory held, in bytes: owned results and saved values. */
  bytes(): number {
    const values = [...this.owned, ...this.steps.flatMap(({ saved }) => saved)];
    return values.reduce((total, { shape }) => total + 4 * shape.reduce((size, n) => size * n, 1), 0);
  }

  /** Passes ownership of `value` to the caller. */
  release(value: Value): Value {
    this.owned.delete(value);
    return value;
  }

  /** Disposes everything that the tape owns. */
  dispose(): void {
    for (const step of this.steps.splice(0)) step.dispose();
    for (const value of this.owned) value.dispose();
    this.owned.clear();
  }

  private run(inputs: Value[], result: OpResult): Value {
    const { output, inputsForBackward, saved } = result;
    const dispose = () => {
      for (const value of saved) value.dispose();
    };
    this.owned.add(output);
    if (!this.recording) {
      dispose();
      return output;
    }
    const backward = (dOutput: Value) => {
      const gradients = result.backward(dOutput);
      dOutput.dispose();
      return gradients;
    };
    this.steps.push({ inputs, output, inputsForBackward, saved, backward, dispose });
    return output;
  }
}
