import * as tf from '@tensorflow/tfjs-core';
import { describe } from '@wpo/internal/describe';
import type { ActivationOffload } from './activation-offload';
import { pairKeys } from './adapter/dropout';
import { checkLogps } from './check-logits';
import { answerLogps, forward, type Gemma2 } from './model';
import type { AnswerLogps, Kernels, Pause, Value } from './ops/contract';
import { portableKernels } from './ops/portable';
import { type ModelInput, type PackedPairs, packPairs, type TokenPair } from './pack';
import type { Parameter } from './parameter';
import { type Block, Tape } from './tape';
import { blockParameters, hasDropout, trainableParameters } from './weights';

/** Terms of every answer token of a pass, each `[A]`: a pair's chosen answer, its rejected answer, then the next pair's. */
export interface TokenTerms {
  /** log p of each token. */
  readonly logps: Float32Array;
  /** log Σ_v p_v² at each token's position. */
  readonly logSumSquares: Float32Array;
  /** log max_v p_v at each token's position. */
  readonly logMax: Float32Array;
}

/** A forward pass over pairs. It holds its memory until `dispose`. */
export interface Forward {
  /**
   * Computes the terms of all answer tokens and reads them from the device.
   *
   * @throws ModelError for NaN because of a weight that is not finite and was not scanned when it was loaded; what `pause` throws
   */
  terms(): Promise<TokenTerms>;
  /**
   * Adds d loss / d weight to the parameters' gradients, given d loss / d `logps` `[A]`.
   *
   * @throws Error for a pass with `train: false`, and at a second call; what `pause` and `gradientsReady` throw: the gradients are
   *   incomplete then
   */
  backward(dLogps: Float32Array): Promise<void>;
  dispose(): void;
}

/** A Gemma-2 that the trainer can run or train: its parameters, and its forward and backward pass over pairs. */
export interface GemmaPolicy {
  readonly model: Gemma2;
  /** The trainable weights, or those of the model's adapter. */
  readonly parameters: readonly Parameter[];
  /**
   * One pass over pairs.
   *
   * @throws Error for a pair with an empty part or a token id outside the vocabulary; names the pair. What `pause` throws
   */
  forward(pairs: readonly TokenPair[], options: ForwardOptions): Promise<Forward>;
  /**
   * One pass over several packs of pairs, _layer-major_: each layer runs on all packs before the next layer does, forward and backward.
   * So the gradients of a layer are complete early. Beside the memory of one pack, each pack takes that of its layers' inputs.
   *
   * `backward` of each pack runs its output head. That of the last pack then runs the layers of all. Gradients are added in the order of
   * the packs; that of the embedding gets all output heads first. Disposing a pack before ends the pass of all.
   */
  forwardPacks(packs: readonly (readonly TokenPair[])[], options: PacksOptions): Promise<readonly Forward[]>;
}

export interface ForwardOptions {
  /** Whether `backward` will be called. Dropout runs in training only. */
  readonly train: boolean;
  /** The number of the training step. It decides what dropout drops: needed to train an adapter with dropout. */
  readonly step?: number;
  /** Awaited between layers, and in the backward pass between operations. If it throws, the pass is given up. */
  readonly pause?: Pause;
  /**
   * Awaited with the parameters of a block, before the pass reads their values: of the embedding, each decoder layer, the final norm, and
   * the output head, which has the embedding's; then of each in reverse in the backward pass. If it throws, the pass is given up. So weights
   * that are elsewhere can be brought here.
   */
  readonly acquire?: (parameters: readonly Parameter[]) => void | Promise<void>;
  /** Called with the same parameters once the pass does not read them until the next `acquire`, also if the pass is given up. */
  readonly release?: (parameters: readonly Parameter[]) => void;
}

export interface PacksOptions extends ForwardOptions {
  /**
   * Awaited in the backward pass with the parameters of each decoder layer, of the final norm and of the embedding, once their
   * gradients are complete. It may change the parameters, and free the gradients.
   */
  readonly gradientsReady?: (parameters: readonly Parameter[]) => void | Promise<void>;
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
  /** Where the inputs of recomputed layers are from the forward to the backward pass. Default: where they are computed. */
  readonly offloadActivations?: ActivationOffload | undefined;
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
  const { offloadActivations: offload } = options;
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
  async function forwardPacks(packs: readonly (readonly TokenPair[])[], options: PacksOptions) {
    const { train, step, pause, acquire, release, gradientsReady } = options;
    const inputs = packs.map((pairs) => packPairs(pairs, model.config.vocabSize));
    const keys = train && hasDropout(model) ? packs.map((pairs, i) => dropoutKeys(pairs, inputs[i]!, step)) : null;
    const tokens = inputs.slice(1).reduce((sum, { ids }) => sum + ids.length, 0); // of the packs after the first
    const { numHiddenLayers, hiddenSize } = model.config;
    const inputBytes = offload ? 0 : FLOAT32 * tokens * numHiddenLayers * hiddenSize; // of their layers
    /** For a block with trainable weights. */
    const withParameters =
      <T>(call: (parameters: readonly Parameter[]) => T) =>
      (block: Block): T | undefined => {
        const parameters = blockParameters(model, block);
        return parameters.length > 0 ? call(parameters) : undefined;
      };
    const tape = new Tape(kernels, {
      record: train,
      activationBytes: Math.max(0, budget - inputBytes),
      offload,
      pause,
      pass: { training: train, dropoutKeys: (tokens, pack) => keys?.[pack]?.get(tokens) ?? null },
      hooks: {
        acquire: withParameters(async (parameters) => acquire?.(parameters)),
        release: withParameters((parameters) => release?.(parameters)),
      },
      gradientsReady: withParameters(async (parameters) => gradientsReady?.(parameters)),
    });
    return runPacks(model, inputs, tape);
  }
  return {
    model,
    parameters: trainableParameters(model),
    forward: async (pairs, options) => (await forwardPacks([pairs], options))[0]!,
    forwardPacks,
  };
}

const FLOAT32 = 4;

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

async function runPacks(model: Gemma2, packs: readonly PackedPairs[], tape: Tape): Promise<Forward[]> {
  let hidden: Value[]; // of each pack [A, H]
  try {
    hidden = await forward(tape, model, packs);
  } catch (error) {
    tape.dispose();
    throw error;
  }
  const dHidden = new Map<Value, Value>(); // by hidden states
  let open = packs.length;
  let holdsHead = false; // the weights of the output head: from its first run until the gradients of all packs' hidden states
  const acquireHead = async () => {
    if (!holdsHead) await tape.hooks?.acquire('embedding');
    holdsHead = true;
  };
  const releaseHead = () => {
    if (holdsHead) tape.hooks?.release('embedding');
    holdsHead = false;
  };
  const giveUp = () => {
    releaseHead();
    tape.dispose();
    for (const gradient of dHidden.values()) gradient.dispose();
    dHidden.clear();
  };
  return packs.map(({ targets }, pack) => {
    const h = hidden[pack]!;
    let answers: AnswerLogps | null = null; // the output head, which runs when it is needed
    const runHead = async () => {
      await acquireHead();
      answers ??= await answerLogps(tape, model, h, targets);
      return answers;
    };
    let [canGoBackward, isOpen] = [tape.recording, true];
    return {
      async terms() {
        const { logps, logSumSquares, logMax } = await runHead();
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
          const head = await runHead();
          dHidden.set(h, await head.backward(dy)); // [A, H]
          head.dispose();
          tape.release(h).dispose(); // the norm's backward pass does not read its output
          if (dHidden.size < packs.length) return;
          releaseHead();
          const gradients = new Map(dHidden);
          dHidden.clear(); // the tape owns them
          await tape.backward(gradients).finally(() => tape.dispose());
        } finally {
          dy.dispose();
        }
      },
      dispose() {
        if (!isOpen) return;
        isOpen = false;
        open -= 1;
        if (canGoBackward || open === 0) giveUp();
        canGoBackward = false;
        answers?.dispose();
        if (answers) tf.dispose([answers.logps, answers.logSumSquares, answers.logMax]);
      },
    };
  });
}
