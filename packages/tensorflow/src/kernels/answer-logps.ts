import * as tf from '@tensorflow/tfjs-core';
import type { AnswerLogps, Pause, Precision, Weight, WeightValue } from '@wpo/gemma';
import { addProduct, addRows } from './add-gradient';
import { LOGIT_LIMITS, logitChunks } from './logit-limits';
import { nativeOperations, run, withInts, withNumbers } from './native';
import { type Operand, program } from './program';

// The output head: answer log-probs, alignment terms and their gradient. Its tensors are large, so its operations run
// immediately and are not recorded; those that read stored weights run as programs of one operation.
//
// H hidden size, V vocabulary, A answer tokens, a answer tokens of a chunk.

/**
 * The matrix product of a `[m, k]`, or `[k, m]` with `transposeA`, and b `[k, n]`, or `[n, k]` with `transposeB`: `[m, n]`. It is
 * native if the native operations are loaded.
 *
 * @throws Error if the inner sizes differ
 */
export function tensorflowMatMul(a: tf.Tensor2D, b: tf.Tensor2D, transposeA = false, transposeB = false): tf.Tensor2D {
  if (!nativeOperations()) return tf.matMul(a, b, transposeA, transposeB);
  const form = transposeA || transposeB ? (transposeA ? 'T' : 'N') + (transposeB ? 'T' : 'N') : '';
  return run(`WpoProduct${form}`, [a, b], 1)[0] as tf.Tensor2D;
}

/** a · weightᵀ, or a · weight with the form ''. The caller owns the result, or the `tf.tidy` around the call. */
function timesWeight(a: tf.Tensor2D, weight: WeightValue, form: 'NT' | '', precision: Precision): tf.Tensor2D {
  if (weight instanceof tf.Tensor && precision === 'float32')
    return tensorflowMatMul(a, weight as tf.Tensor2D, false, form === 'NT');
  const shape = [a.shape[0], weight.shape[form === 'NT' ? 0 : 1]!];
  return program.withPrecision(precision, () => runStored(`WpoProduct${form}`, [a, weight], shape));
}

/** Rows of the weight at `indices`. */
function gatherRows(weight: WeightValue, indices: Int32Array): tf.Tensor2D {
  if (weight instanceof tf.Tensor) {
    return withInts(indices, (at) =>
      withNumbers([1], (params) => run('WpoScaledRows', [weight, at, params], 1)[0] as tf.Tensor2D),
    );
  }
  return runStored('WpoScaledRows', [weight, { ints: indices }, { numbers: [1] }], [indices.length, weight.shape[1]!]);
}

/** Runs an operation that reads stored values, which TensorFlow cannot pass to it, or that has a precision. */
function runStored(name: string, inputs: readonly Operand[], shape: readonly number[]): tf.Tensor2D {
  const kept = program.take(program.record(name, inputs, shape)[0]!);
  const result = kept.clone() as tf.Tensor2D; // which, unlike `kept`, a tf.tidy frees
  kept.dispose();
  return result;
}

/** A chunk of answer rows, with D `[a, V]` if it is kept, or D · E `[a, H]` if the weight is frozen. */
interface Chunk {
  readonly start: number;
  readonly count: number;
  readonly D?: tf.Tensor2D;
  readonly DE?: tf.Tensor2D;
}

/**
 * `Kernels.answerLogps` with one computation of the logits for log-probs, terms and gradient, one chunk of rows at a time.
 *
 * With l the capped logits, p = softmax(l), D = p (1 − (l / softcap)²) and c = 1 − (l_target / softcap)²:
 *   d log p / d raw = c · onehot − D
 *   dh = d · (c · E[target] − D · E), with d = dLogps
 *   dE = −Dᵀ · (d · h), plus d · c · h at the targets' rows
 * A frozen weight has no dE, so that D · E is all that the backward pass needs of D: the forward pass computes it at once.
 *
 * @param precision of the products
 * @param limits for tests
 */
export const nativeAnswerLogps =
  (precision: Precision, limits = LOGIT_LIMITS) =>
  async (
    hidden: tf.Tensor2D,
    weight: Weight,
    targets: Int32Array,
    softcap: number | null,
    requiresGrad: boolean,
    pause?: Pause,
  ): Promise<AnswerLogps> => {
    const answerTokens = hidden.shape[0];
    const vocabulary = weight.shape[0]!;
    const slice = (x: tf.Tensor2D, { start, count }: { start: number; count: number }) =>
      count === answerTokens ? x.clone() : tf.slice(x, [start, 0], [count, x.shape[1]]);

    /** log p, log Σ p², log max p and c as `terms` `[a, 4]`; D `[a, V]` in the memory of the logits if a gradient is needed. */
    const compute = (start: number, count: number) =>
      tf.tidy(() => {
        const raw = timesWeight(slice(hidden, { start, count }), weight.value(), 'NT', precision); // [a, V]
        const [terms] = withInts(targets.subarray(start, start + count), (at) =>
          withNumbers([softcap ?? 0, Number(requiresGrad)], (params) => run('WpoAnswerTerms', [raw, at, params], 1)),
        );
        if (!requiresGrad) raw.dispose();
        return { terms: terms as tf.Tensor2D, D: requiresGrad ? raw : undefined };
      });
    const recomputeD = (start: number, count: number): tf.Tensor2D => {
      const { terms, D } = compute(start, count);
      terms.dispose();
      return D!;
    };

    const chunks: Chunk[] = [];
    const parts: tf.Tensor2D[] = [];
    const disposeChunks = () => tf.dispose(chunks.splice(0).flatMap(({ D, DE }) => [D ?? [], DE ?? []].flat()));
    for (const { start, count, keeps } of logitChunks(answerTokens, weight, requiresGrad, limits)) {
      await orElse(start > 0 && pause?.(), () => {
        disposeChunks();
        tf.dispose(parts);
      });
      const { terms, D } = compute(start, count);
      parts.push(terms);
      const DE = D && !weight.trainable ? timesWeight(D, weight.value(), '', precision) : undefined;
      if (!keeps) D?.dispose();
      chunks.push({ start, count, D: keeps ? D : undefined, DE });
    }
    const terms = tf.concat(parts); // [A, 4]
    tf.dispose(parts);
    const column = (i: number) =>
      tf.tidy(() => tf.reshape(tf.slice(terms, [0, i], [answerTokens, 1]), [answerTokens]) as tf.Tensor1D);
    const [logps, logSumSquares, logMax] = [column(0), column(1), column(2)];
    const c = tf.slice(terms, [0, 3], [answerTokens, 1]); // [A, 1]
    terms.dispose();

    return {
      logps,
      logSumSquares,
      logMax,
      async backward(dLogps: tf.Tensor1D) {
        const d = tf.reshape(dLogps, [answerTokens, 1]); // [A, 1]
        const products = weight.trainable ? await addEmbeddingGradient(d) : chunks.map(({ DE }) => DE!.clone());
        const dHidden = tf.tidy(() => {
          const targetRows = tf.mul(gatherRows(weight.value(), targets), c); // c · E[target]: [A, H]
          return tf.mul(tf.sub(targetRows, tf.concat(products)), d) as tf.Tensor2D;
        });
        tf.dispose([d, ...products]);
        return dHidden;
      },
      dispose() {
        disposeChunks();
        c.dispose();
      },
    };

    /** Adds dE to the weight's gradient, and returns D · E of each chunk, `[a, H]`. */
    async function addEmbeddingGradient(d: tf.Tensor): Promise<tf.Tensor2D[]> {
      const scaled = tf.mul(hidden, d) as tf.Tensor2D; // d · h: [A, H]
      const products: tf.Tensor2D[] = [];
      for (const { start, count, D: keptD } of chunks) {
        await orElse(start > 0 && pause?.(), () => tf.dispose([d, scaled, ...products]));
        const D = keptD ?? recomputeD(start, count); // [a, V]
        const rows = tf.tidy(() => tf.neg(slice(scaled, { start, count }))); // −d · h: [a, H]
        program.withPrecision(precision, () => addProduct(weight, D, rows, 'TN')); // [V, H]
        rows.dispose();
        products.push(timesWeight(D, weight.value(), '', precision)); // D · E: [a, H]
        if (!keptD) D.dispose();
      }
      const atTargets = tf.mul(scaled, c); // d · c · h: [A, H]
      weight.accumulate((sum) => addRows(sum, targets, atTargets, vocabulary));
      tf.dispose([scaled, atTargets]);
      return products;
    }
  };

/** Awaits work, and frees memory if it throws. */
async function orElse(work: Promise<void> | false | undefined, free: () => void): Promise<void> {
  try {
    await work;
  } catch (error) {
    free();
    throw error;
  }
}
