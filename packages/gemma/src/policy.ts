import * as tf from '@tensorflow/tfjs-core';
import { block, embedding, type Gemma2, readout } from './model';
import type { Kernels, Value } from './ops/contract';
import { portableKernels } from './ops/portable';
import { layOut, packPairs, type TokenPair } from './pack';
import type { Parameter } from './parameter';
import { Tape } from './tape';
import { parametersOf } from './weights';

/** Terms of every answer token of a pass, each `[A]`: a pair's chosen answer, its rejected answer, then the next pair's. */
export interface TokenTerms {
  /** log p of each token. */
  readonly logps: Float32Array;
  /** log Σ_v p_v² at each token's position. */
  readonly logSumSquares: Float32Array;
  /** log max_v p_v at each token's position. */
  readonly logMax: Float32Array;
}

/** One forward pass over pairs. It holds its memory until `dispose`. */
export interface Forward {
  /** Reads the terms of all answer tokens from the device. */
  terms(): Promise<TokenTerms>;
  /** Adds d loss / d weight to the parameters' gradients, given d loss / d `logps` `[A]`. Once, and only with `train: true`. */
  backward(dLogps: Float32Array): void;
  dispose(): void;
}

/** A Gemma-2 that the trainer can train: its parameters, and its forward and backward pass over pairs. */
export interface GemmaPolicy {
  readonly model: Gemma2<Parameter>;
  readonly parameters: readonly Parameter[];
  forward(pairs: readonly TokenPair[], options: { readonly train: boolean }): Forward;
}

export interface PolicyOptions {
  /** What the operations run on; default composed from tfjs-core. */
  readonly kernels?: Kernels;
  /**
   * `always` keeps each block's input alone and runs the block again on the way back: least memory. `never` keeps what
   * the way back reads: fastest. `auto` keeps blocks as long as they fit in `activationBytes`. Default `auto`.
   */
  readonly activationCheckpointing?: ActivationCheckpointing;
  /** Memory for kept blocks under `auto`, in bytes; default 1 GiB. */
  readonly activationBytes?: number;
}

export type ActivationCheckpointing = 'auto' | 'always' | 'never';

/**
 * Runs pairs as one sequence: every prompt once, the last block and the logits at answer rows only. On the way back a block
 * is walked over as it was kept, or run again where it was not.
 */
export function gemmaPolicy(model: Gemma2<Parameter>, options: PolicyOptions = {}): GemmaPolicy {
  const { kernels = portableKernels, activationCheckpointing = 'auto', activationBytes = 2 ** 30 } = options;
  const budget = { auto: activationBytes, always: 0, never: Number.POSITIVE_INFINITY }[activationCheckpointing];
  return {
    model,
    parameters: parametersOf(model),
    forward: (pairs, { train }) => forward(model, kernels, pairs, train ? budget : null),
  };
}

/** A block on the way there: its input, and its tape where it was kept. */
interface Passed {
  readonly input: Value;
  readonly output: Value;
  readonly tape: Tape | null;
}

/** `budget`: bytes for kept blocks; null for a pass that will not go back. */
function forward(
  model: Gemma2<Parameter>,
  kernels: Kernels,
  pairs: readonly TokenPair[],
  budget: number | null,
): Forward {
  const packed = packPairs(pairs, model.config.vocabSize);
  const layouts = layOut(packed, model.config, kernels);
  const run = (layer: number, input: Value, record: boolean) => {
    const tape = new Tape(kernels, record);
    const output = tape.release(block(tape, model, layer, input, layouts.layer(layer)));
    if (record) tape.prune();
    else tape.dispose();
    return { tape, output };
  };

  const embedded = embedding(kernels, model, packed.ids);
  const passed: Passed[] = [];
  let x = embedded.output;
  let left = budget ?? 0;
  for (let layer = 0, cost = 0; layer < model.blocks.length; layer++) {
    const record = left > 0 && cost <= left; // a block costs about what the one before did
    const { tape, output } = run(layer, x, record);
    if (record) cost = tape.bytes();
    const keep = record && cost <= left;
    if (keep) left -= cost;
    else tape.dispose();
    if (budget !== null) passed.push({ input: x, output, tape: keep ? tape : null });
    else x.dispose();
    x = output;
  }
  const last = x; // [A, H]
  const head = new Tape(kernels, budget !== null);
  const hidden = readout(head, model, last); // [A, H]
  const cap = model.config.finalLogitSoftcapping;
  const answers = kernels.answerLogps(hidden, model.embedding, packed.targets, cap, budget !== null);
  const { logps, logSumSquares, logMax } = answers; // [A] each

  const release = () => {
    for (const { input, tape } of passed.splice(0)) {
      input.dispose();
      tape?.dispose();
    }
    last.dispose();
    head.dispose();
    answers.dispose();
    layouts.dispose();
  };
  let open = budget !== null;
  if (!open) release();
  return {
    async terms() {
      const [p, squares, max] = await Promise.all([logps.data(), logSumSquares.data(), logMax.data()]);
      return { logps: p as Float32Array, logSumSquares: squares as Float32Array, logMax: max as Float32Array };
    },
    backward(dLogps) {
      if (!open) throw new Error('backward: expected a pass with `train: true` whose backward pass has not run yet');
      open = false;
      const dy = tf.tensor1d(dLogps); // [A]
      const dHidden = answers.backward(dy); // [A, H]
      answers.dispose();
      dy.dispose();
      let dx = head.backward(hidden, dHidden, last);
      for (let layer = model.blocks.length - 1; layer >= 0; layer--) {
        const { input, output, tape } = passed.pop()!;
        if (tape) {
          dx = tape.backward(output, dx, input);
        } else {
          const again = run(layer, input, true);
          again.output.dispose();
          dx = again.tape.backward(again.output, dx, input);
        }
        input.dispose();
      }
      embedded.backward(dx);
      dx.dispose();
      release();
    },
    dispose() {
      if (open) release();
      open = false;
      tf.dispose([logps, logSumSquares, logMax]);
    },
  };
}
