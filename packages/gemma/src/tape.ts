import type { ActivationOffload } from './activation-offload';
import type { Pass } from './adapter/dropout';
import { isAdapted, type LinearForm, runAdapted, runAdaptedGeglu } from './adapter/lora-linear';
import type {
  AttentionOptions,
  Kernels,
  OpResult,
  Pause,
  QueryBlock,
  RotaryTables,
  Value,
  Weight,
} from './ops/contract';

interface Step {
  /** The inputs that `backward` returns gradients of. */
  readonly inputs: readonly Value[];
  readonly output: Value;
  /** The inputs that `backward` reads, and the output if it reads that. */
  readonly inputsForBackward: readonly Value[];
  readonly saved: readonly Value[];
  /** Gradients of `inputs`. Takes ownership of `dOutput`. */
  backward(dOutput: Value): Value[] | Promise<Value[]>;
  /** Frees what is kept for `backward`. */
  dispose(): void;
  /** Frees the output until an operation reads it. */
  readonly discard?: () => void;
  /** Begins to copy to the device what `backward` reads. */
  readonly prefetch?: () => void;
}

/** A part of the model with weights of its own: the embedding, a decoder layer by its index, or the final norm. */
export type Block = 'embedding' | number | 'norm';

/** Called before and after the operations that read a block's weights. `acquire` is awaited. */
export interface BlockHooks {
  readonly acquire: (block: Block) => void | Promise<void>;
  readonly release: (block: Block) => void;
}

export interface TapeOptions {
  /** Whether `backward` will be called. If false, the tape keeps nothing for it. */
  readonly record: boolean;
  /** Memory that `checkpoint` may use to keep activations, in bytes. Default 0: recompute everything. */
  readonly activationBytes?: number;
  /** Where the inputs of recomputed parts are from the forward to the backward pass. Default: where they are computed. */
  readonly offload?: ActivationOffload | undefined;
  /** Awaited between the operations of the backward pass, and by the caller between layers. Default: no pause. */
  readonly pause?: Pause;
  /** Of each block, in the forward and in the backward pass. */
  readonly hooks?: BlockHooks | undefined;
  /** Awaited in the backward pass, once the gradients of a block's weights are complete, after `release`. */
  readonly gradientsReady?: (block: Block) => void | Promise<void>;
  /** Of a tape for a part of a pass: the whole pass. */
  readonly pass?: Pass;
  /** Of a tape for a part of a pass: the pack that it runs on. Default 0. */
  readonly pack?: number;
}

/**
 * Runs operations, owns their results and, if it records, runs their backward passes in reverse order.
 *
 * The backward pass frees each step's memory as soon as it is no longer needed, so a tape's memory only shrinks once
 * `backward` has started.
 *
 * Operations that no trainable weight comes before have no backward pass, and nothing is kept for them.
 */
export class Tape {
  private steps: Step[] = [];
  private readonly owned = new Set<Value>();
  /** The owned values that take no memory until an operation reads them. */
  private readonly discarded = new Set<Value>();
  /** The values that depend on a trainable weight. */
  private readonly requiresGrad = new Set<Value>();
  private bytesLeft: number;
  /** Of each pack: the bytes of the part that was last kept, or would have been. */
  private readonly partBytes: number[] = [];
  /** The blocks that have run, with the number of steps before each. */
  private readonly blocks: { readonly block: Block; readonly stepsBefore: number }[] = [];
  readonly recording: boolean;
  readonly pause: Pause;
  readonly pass: Pass;
  /** The pack that operations run on. */
  pack: number;
  readonly hooks: TapeOptions['hooks'];
  private readonly gradientsReady: TapeOptions['gradientsReady'];
  private readonly offload: TapeOptions['offload'];

  constructor(
    readonly kernels: Kernels,
    {
      record,
      activationBytes = 0,
      offload,
      pause = async () => {},
      hooks,
      gradientsReady,
      pass = { training: record, dropoutKeys: () => null },
      pack = 0,
    }: TapeOptions,
  ) {
    this.pause = pause;
    this.recording = record;
    this.pass = pass;
    this.pack = pack;
    this.hooks = hooks;
    this.gradientsReady = gradientsReady;
    this.offload = offload;
    this.bytesLeft = activationBytes;
  }

  embedding(ids: Int32Array, w: Weight, scale: number): Value {
    return this.run([], w, this.kernels.embedding(ids, w, scale));
  }
  linear(x: Value, w: Weight): Value {
    return this.runLinear(x, w, { layout: { x: false, y: false }, apply: this.kernels.linear });
  }
  linearToHeads(x: Value, w: Weight, heads: number): Value {
    const apply = (x: Value, w: Weight) => this.kernels.linearToHeads(x, w, heads);
    return this.runLinear(x, w, { layout: { x: false, y: true }, apply });
  }
  linearFromHeads(x: Value, w: Weight): Value {
    return this.runLinear(x, w, { layout: { x: true, y: false }, apply: this.kernels.linearFromHeads });
  }
  gegluLinear(gate: Value, up: Value, w: Weight): Value {
    if (isAdapted(w)) return runAdaptedGeglu(this, gate, up, w);
    return this.run([gate, up], w, this.kernels.gegluLinear(gate, up, w));
  }
  rmsNorm(x: Value, w: Weight, epsilon: number, residual?: Value): Value {
    return this.run(residual ? [x, residual] : [x], w, this.kernels.rmsNorm(x, w, epsilon, residual));
  }
  rope(x: Value, tables: RotaryTables): Value {
    return this.run([x], null, this.kernels.rope(x, tables));
  }
  attention(q: Value, k: Value, v: Value, blocks: readonly QueryBlock[], options: AttentionOptions): Value {
    return this.run([q, k, v], null, this.kernels.attention(q, k, v, blocks, options));
  }
  selectRows(x: Value, indices: Int32Array): Value {
    return this.run([x], null, this.kernels.selectRows(x, indices));
  }
  rotaryTables(positions: Int32Array, headDim: number, theta: number): RotaryTables {
    const tables = this.kernels.rotaryTables(positions, headDim, theta);
    this.owned.add(tables.cos).add(tables.sin);
    return tables;
  }

  /**
   * Runs a block on each pack, between its hooks: `[pack 0's output, pack 1's output, …]`. The backward pass adds the packs'
   * gradients in their order, and then calls `gradientsReady`.
   *
   * @param inputs one of each pack
   */
  async block<T>(block: Block, inputs: readonly T[], run: (input: T, pack: number) => Value): Promise<Value[]> {
    this.blocks.push({ block, stepsBefore: this.steps.length });
    const outputs: Value[] = [];
    await this.withWeights(block, async () => {
      // the last pack first: the backward pass runs in reverse
      for (let pack = inputs.length - 1; pack >= 0; pack--) {
        this.pack = pack;
        outputs[pack] = run(inputs[pack]!, pack);
        await this.pause();
      }
    });
    return outputs;
  }

  /** Runs operations that read a block's weights, between its hooks. */
  private async withWeights(block: Block, run: () => Promise<void>): Promise<void> {
    await this.hooks?.acquire(block);
    try {
      await run();
    } finally {
      this.hooks?.release(block);
    }
  }

  /**
   * Runs a part of the model, such as a layer, on a tape of its own. Its activations are kept for the backward pass as long
   * as they fit in `activationBytes`; otherwise only `x` is kept, or moved out by `offload`, and the backward pass recomputes the
   * part. Without a backward pass through the part, `x` is freed.
   */
  checkpoint(x: Value, part: (tape: Tape, x: Value) => Value): Value {
    const { pack, pause, pass } = this;
    const runPart = (record: boolean, input = x) => {
      const tape = new Tape(this.kernels, { record, pause, pass, pack });
      if (this.requiresGrad.has(x)) tape.requiresGrad.add(input);
      const output = tape.release(part(tape, input));
      if (record) tape.prune(output);
      else tape.dispose();
      return { tape, output };
    };
    // A pack's parts are layers, of about equal size: do not record one that will not fit.
    const mayFit = this.recording && this.bytesLeft > 0 && (this.partBytes[pack] ?? 0) <= this.bytesLeft;
    const { tape, output } = runPart(mayFit);
    this.owned.add(output);
    if (!this.recording || !tape.requiresGrad.has(output)) {
      tape.dispose();
      this.release(x).dispose();
      return output;
    }
    this.requiresGrad.add(output);
    const bytes = mayFit ? tape.bytes() : Number.POSITIVE_INFINITY;
    if (mayFit) this.partBytes[pack] = bytes;
    const kept = bytes <= this.bytesLeft;
    if (kept) this.bytesLeft -= bytes;
    else tape.dispose();
    const inputs = this.requiresGrad.has(x) ? [x] : [];
    const offloaded = kept ? undefined : this.offload?.move(this.release(x));
    this.steps.push({
      inputs,
      output,
      inputsForBackward: offloaded ? [] : [x],
      saved: [],
      prefetch: offloaded?.prefetch,
      backward: async (dOutput) => {
        const input = offloaded?.fetch() ?? x;
        const run = kept ? { tape, output } : runPart(true, input);
        if (!kept) run.output.dispose();
        try {
          const dx = await run.tape.backward(new Map([[run.output, dOutput]]), inputs.length > 0 ? input : undefined);
          return dx ? [dx] : [];
        } finally {
          run.tape.dispose();
          if (offloaded) input.dispose();
        }
      },
      dispose() {
        tape.dispose();
        offloaded?.dispose();
      },
    });
    return output;
  }

  /**
   * Adds the weights' gradients, given the gradient d loss / d output of each output. Disposes the gradients and the tape's results.
   *
   * @param input returns d loss / d `input`, owned by the caller
   * @throws Error where no output depends on `input`; what `pause` and `gradientsReady` throw
   */
  async backward(dOutputs: ReadonlyMap<Value, Value>, input?: Value): Promise<Value | null> {
    const gradients = new Map(dOutputs);
    const backTo = async (stepsBefore: number) => {
      while (this.steps.length > stepsBefore) {
        const step = this.steps.pop()!;
        this.steps.findLast(({ prefetch }) => prefetch)?.prefetch?.(); // runs beside this step
        await this.backwardStep(step, gradients);
        await this.pause();
      }
    };
    try {
      for (let next = this.blocks.pop(); next; next = this.blocks.pop()) {
        const { block, stepsBefore } = next;
        if (this.steps.length > stepsBefore) await this.withWeights(block, () => backTo(stepsBefore));
        await this.gradientsReady?.(block);
      }
      await backTo(0); // of a tape without blocks
    } catch (error) {
      for (const gradient of gradients.values()) gradient.dispose();
      throw error;
    }
    const result = input && gradients.get(input);
    for (const gradient of gradients.values()) if (gradient !== result) gradient.dispose();
    if (input && !result) throw new Error('Tape.backward: expected an output that depends on the input.');
    return result ?? null;
  }

  /** Replaces the gradient of a step's output by those of its inputs. */
  private async backwardStep(step: Step, gradients: Map<Value, Value>): Promise<void> {
    const gradient = gradients.get(step.output);
    gradients.delete(step.output);
    const disposeOutput = () => {
      if (this.owned.delete(step.output)) step.output.dispose();
    };
    if (!step.inputsForBackward.includes(step.output)) disposeOutput();
    try {
      if (!gradient) return;
      const inputGradients = await step.backward(gradient);
      step.inputs.forEach((value, i) => {
        const sum = gradients.get(value);
        gradients.set(value, sum ? this.kernels.add(sum, inputGradients[i]!) : inputGradients[i]!);
      });
    } finally {
      step.dispose();
      disposeOutput();
    }
  }

  /** Frees what `backward` does not read, and what is fast to recompute. */
  prune(output: Value): void {
    const needed = new Set(this.steps.flatMap(({ inputsForBackward }) => inputsForBackward));
    for (const value of this.owned) {
      if (value === output || needed.has(value)) continue;
      this.owned.delete(value);
      value.dispose();
    }
    for (const step of this.steps) {
      if (!step.discard || step.output === output || !this.owned.has(step.output)) continue;
      step.discard();
      this.discarded.add(step.output);
    }
  }

  /** Memory held, in bytes: owned results and saved values. */
  bytes(): number {
    const held = [...this.owned].filter((value) => !this.discarded.has(value));
    const values = [...held, ...this.steps.flatMap(({ saved }) => saved)];
    const bytesOf = ({ shape, dtype }: Value) => shape.reduce((bytes, n) => bytes * n, dtype === 'bfloat16' ? 2 : 4);
    return values.reduce((total, value) => total + bytesOf(value), 0);
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

  private runLinear(x: Value, w: Weight, form: LinearForm): Value {
    return isAdapted(w) ? runAdapted(this, x, w, form) : this.run([x], w, form.apply(x, w));
  }

  /** Whether gradients flow to `value`. */
  needsGradient(value: Value): boolean {
    return this.requiresGrad.has(value);
  }

  /** Runs an operation's result as a step. `w` is its weight, if any. */
  run(inputs: readonly Value[], w: Weight | null, result: OpResult): Value {
    const { output, inputsForBackward, saved, discard } = result;
    const dispose = () => {
      for (const value of saved) value.dispose();
    };
    this.owned.add(output);
    const requiresGrad = (w !== null && (w.trainable || isAdapted(w))) || inputs.some((x) => this.requiresGrad.has(x));
    if (requiresGrad) this.requiresGrad.add(output);
    if (!this.recording || !requiresGrad) {
      dispose();
      return output;
    }
    const backward = (dOutput: Value) => {
      const gradients = result.backward(dOutput);
      dOutput.dispose();
      const [needed, others] = partition(gradients, (_, i) => this.requiresGrad.has(inputs[i]!));
      for (const gradient of others) gradient.dispose();
      return needed;
    };
    const [differentiable] = partition(inputs, (x) => this.requiresGrad.has(x));
    this.steps.push({ inputs: differentiable, output, inputsForBackward, saved, backward, dispose, discard });
    return output;
  }
}

/** The values that pass a test, and the others. */
function partition<T>(values: readonly T[], test: (value: T, index: number) => boolean): [T[], T[]] {
  return [values.filter(test), values.filter((value, index) => !test(value, index))];
}
