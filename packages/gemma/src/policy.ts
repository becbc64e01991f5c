import * as tf from '@tensorflow/tfjs-core';
import { describe } from '@wpo/internal/describe';
import { pairKeys } from './adapter/dropout';
import { checkLogps } from './check-logits';
import { answerLogps, forward, type Gemma2 } from './model';
import type { AnswerLogps, Kernels, Pause, Value } from './ops/contract';
import { portableKernels } from './ops/portable';
import { type ModelInput, type PackedPairs, packPairs, type TokenPair } from './pack';
import type { Parameter } from './parameter';
import { Tape } from './tape';
import { hasDropout, trainableParameters } from './weights';

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
  /**
   * Reads the terms of all answer tokens from the device.
   *
   * @throws ModelError for NaN because of a weight that is not finite and was not scanned when it was loaded
   */
  terms(): Promise<TokenTerms>;
  /**
   * Adds d loss / d weight to the parameters' gradients, given d loss / d `logps` `[A]`.
   *
   * @throws Error for a pass with `train: false`, and at a second call; what `pause` throws: the gradients are incomplete then
   */
  backward(dLogps: Float32Array): Promise<void>;
  dispose(): void;
}

/** A Gemma-2 that the trainer can run or train: its parameters, and its forward and backward pass over pairs. */
export interface GemmaPolicy {
  readonly model: Gemma2;
  /** The trainable weights, or those of the model's adapter. */
  readonly parameters: readonly Parameter[];
  /** @throws Error for a pair with an empty part or a token id outside the vocabulary; names the pair. What `pause` throws */
  forward(pairs: readonly TokenPair[], options: ForwardOptions): Promise<Forward>;
}

export interface ForwardOptions {
  /** Whether `backward` will be called. Dropout runs in training only. */
  readonly train: boolean;
  /** The number of the training step. It decides what dropout drops: needed to train an adapter with dropout. */
  readonly step?: number;
  /** Awaited between layers, and in the backward pass between operations. If it throws, the pass is given up. */
  readonly pause?: Pause;
}

export interface PolicyOptions {
  /** Default `portableKernels`. */
  readonly kernels?: Kernels;
  /**
   * `always` keeps only each layer's input and recomputes the layer in the backward pass: least memory. `never` keeps what
   * the backward pass reads: fastest. `auto` keeps as many layers as fit in `activationBytes`. Default `auto`.
   */
  readonly activationCheckpointing?: ActivationCheckpointing;
  /** Memory for kept layers under `auto`, in bytes. Default 1 GiB. */
  readonly activationBytes?: number;
}

export type ActivationCheckpointing = 'auto' | 'always' | 'never';

/**
 * Makes a policy of a model. The pairs of a pass run as one packed input: each prompt once, and the last layer and the logits
 * only at the rows that predict an answer token.
 *
 * @throws RangeError for an option out of range
 */
export function gemmaPolicy(model: Gemma2, options: PolicyOptions = {}): GemmaPolicy {
  const { kernels = portableKernels, activationCheckpointing = 'auto', activationBytes = 2 ** 30 } = options;
  const budgets = { auto: activationBytes, always: 0, never: Number.POSITIVE_INFINITY };
  if (!Object.hasOwn(budgets, activationCheckpointing)) {
    throw new RangeError(
      `gemmaPolicy: activationCheckpointing: expected auto, always or never, found ${describe(activationCheckpointing)}.`,
    );
  }
  if (!(activationBytes >= 0)) {
    throw new RangeError(
      `gemmaPolicy: activationBytes: expected a number of at least 0, found ${describe(activationBytes)}.`,
    );
  }
  const budget = budgets[activationCheckpointing];
  return {
    model,
    parameters: trainableParameters(model),
    async forward(pairs, { train, step, pause }) {
      const input = packPairs(pairs, model.config.vocabSize);
      const keys = train && hasDropout(model) ? dropoutKeys(pairs, input, step) : null;
      const pass = { training: train, dropoutKeys: (tokens: number) => keys?.get(tokens) ?? null };
      return pairForward(model, input, new Tape(kernels, { record: train, activationBytes: budget, pause, pass }));
    },
  };
}

/** Keys of the tokens' dropout, by the number of tokens: of all tokens, and of the output rows, which are always fewer. */
function dropoutKeys(pairs: readonly TokenPair[], { outputRows }: ModelInput, step?: number): Map<number, Int32Array> {
  if (step === undefined) {
    throw new Error(
      'forward: step: expected the number of the training step, since the adapter has dropout, found none.',
    );
  }
  const all = pairs.flatMap(({ id, prompt, chosen, rejected }) => [
    ...pairKeys(step, id, prompt.length + chosen.length + rejected.length),
  ]);
  return new Map([all, Array.from(outputRows, (row) => all[row]!)].map((keys) => [keys.length, Int32Array.from(keys)]));
}

async function pairForward(model: Gemma2, packed: PackedPairs, tape: Tape): Promise<Forward> {
  let hidden: Value; // [A, H]
  let answers: AnswerLogps;
  try {
    hidden = await forward(tape, model, packed);
    answers = await answerLogps(tape, model, hidden, packed.targets);
  } catch (error) {
    tape.dispose();
    throw error;
  }
  const { logps, logSumSquares, logMax } = answers; // [A] each

  const release = () => {
    answers.dispose();
    tape.dispose();
  };
  let canGoBackward = tape.recording;
  if (!canGoBackward) release();
  return {
    async terms() {
      const [p, squares, max] = await Promise.all([logps.data(), logSumSquares.data(), logMax.data()]);
      await checkLogps(p as Float32Array, model);
      return { logps: p as Float32Array, logSumSquares: squares as Float32Array, logMax: max as Float32Array };
    },
    async backward(dLogps) {
      if (!canGoBackward) {
        throw new Error(
          'backward: expected an open pass with `train: true`, found one with `train: false`, or one that was disposed or has ' +
            'run its backward pass. Call policy.forward again.',
        );
      }
      canGoBackward = false;
      const dy = tf.tensor1d(dLogps); // [A]
      try {
        const dHidden = await answers.backward(dy); // [A, H]
        answers.dispose();
        await tape.backward(hidden, dHidden);
      } finally {
        dy.dispose();
        release();
      }
    },
    dispose() {
      if (canGoBackward) release();
      canGoBackward = false;
      tf.dispose([logps, logSumSquares, logMax]);
    },
  };
}
