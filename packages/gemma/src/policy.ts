import * as tf from '@tensorflow/tfjs-core';
import { block, embedding, type Gemma2, readout } from './model';
import { type AnswerLogps, composed, type Kernels, type Value } from './ops/kernels';
import { layOut, packPairs, type TokenPair } from './pack';
import type { Parameter } from './parameter';
import { Tape } from './tape';
import { parametersOf } from './weights';

/** Per-token terms of one answer, each `[tokens of the answer]`. */
export interface AnswerTerms {
  readonly logps: tf.Tensor1D;
  readonly logSumSquares: tf.Tensor1D;
  readonly logMax: tf.Tensor1D;
}

/** d loss / d logps of both answers of a pair. */
export interface PairGradient {
  readonly chosen: tf.Tensor1D;
  readonly rejected: tf.Tensor1D;
}

/** One forward pass over pairs, held until `dispose`. */
export interface Forward {
  readonly pairs: readonly { readonly chosen: AnswerTerms; readonly rejected: AnswerTerms }[];
  backward(gradients: readonly PairGradient[]): void;
  dispose(): void;
}

/** A Gemma-2 that the trainer can train: its parameters, and its forward and backward pass over pairs. */
export interface GemmaPolicy {
  readonly model: Gemma2<Parameter>;
  readonly parameters: readonly Parameter[];
  forward(pairs: readonly TokenPair[], options: { readonly train: boolean }): Forward;
}

/**
 * Runs pairs as one sequence: every prompt once, logits at answer rows only. With `train`, each block's input is kept;
 * `backward` runs one block again at a time and walks back over it, so one block's activations are alive at once.
 */
export function gemmaPolicy(model: Gemma2<Parameter>, kernels: Kernels = composed): GemmaPolicy {
  return {
    model,
    parameters: parametersOf(model),
    forward: (pairs, { train }) => forward(model, kernels, pairs, train),
  };
}

function forward(model: Gemma2<Parameter>, kernels: Kernels, pairs: readonly TokenPair[], train: boolean): Forward {
  const packed = packPairs(pairs, model.config.vocabSize);
  const layout = layOut(packed, model.config, kernels);
  const quiet = new Tape(kernels, false);
  const embedded = embedding(quiet, model, packed.ids);

  const inputs: Value[] = []; // each block's, [T, H]
  let x = embedded.value;
  for (let layer = 0; layer < model.blocks.length; layer++) {
    const output = quiet.release(block(quiet, model, layer, x, layout));
    quiet.dispose();
    if (train) inputs.push(x);
    else x.dispose();
    x = output;
  }
  const last = x;
  const head = new Tape(kernels, train);
  const hidden = readout(head, model, last, packed.rows); // [A, H]
  const answers = kernels.answerLogps(hidden, model.embedding, packed.targets, model.config.finalLogitSoftcapping);
  const terms = splitAnswers(answers, packed.answers);
  if (!train) {
    head.dispose();
    last.dispose();
    layout.dispose();
  }

  let open = train;
  return {
    pairs: terms,
    backward(gradients) {
      if (!open) throw new Error('backward: this pass was made with `train: false`, or has gone back already');
      open = false;
      const dLogps = tf.concat(gradients.flatMap(({ chosen, rejected }) => [chosen, rejected]));
      let dx = head.backward(hidden, answers.backward(dLogps), last);
      tf.dispose(dLogps);
      last.dispose();
      for (let layer = model.blocks.length - 1; layer >= 0; layer--) {
        const input = inputs.pop()!;
        const tape = new Tape(kernels, true);
        dx = tape.backward(block(tape, model, layer, input, layout), dx, input);
        tape.dispose();
        input.dispose();
      }
      embedded.backward(dx);
      dx.dispose();
      layout.dispose();
    },
    dispose() {
      if (open) {
        for (const value of [...inputs, last]) value.dispose();
        head.dispose();
        layout.dispose();
        open = false;
      }
      for (const { chosen, rejected } of terms) tf.dispose([{ ...chosen }, { ...rejected }]);
    },
  };
}

/** `[A]` terms of all answers, cut into each answer's own; the whole ones are freed. */
function splitAnswers(
  { logps, logSumSquares, logMax }: AnswerLogps,
  answers: readonly { readonly chosen: number; readonly rejected: number }[],
): Forward['pairs'] {
  let at = 0;
  const take = (length: number): AnswerTerms => {
    const slice = (x: tf.Tensor1D) => tf.slice(x, [at], [length]);
    const terms = { logps: slice(logps), logSumSquares: slice(logSumSquares), logMax: slice(logMax) };
    at += length;
    return terms;
  };
  const pairs = answers.map(({ chosen, rejected }) => ({ chosen: take(chosen), rejected: take(rejected) }));
  tf.dispose([logps, logSumSquares, logMax]);
  return pairs;
}
