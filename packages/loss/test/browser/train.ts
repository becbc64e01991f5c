import * as tf from '@tensorflow/tfjs';
import { type LossType, preferenceLoss, readLossMetrics, sumLogps, tokenTerms, wpoWeights } from '../../src/index';

/** The results of a run. */
export interface Trained {
  readonly backend: string;
  readonly losses: number[];
  readonly weights: number[];
  readonly metrics: number[];
  readonly table: number[];
}

const VOCABULARY = 5;
const CHOSEN = [
  [1, 2, 3],
  [2, 4, 0],
];
const REJECTED = [
  [3, 3, 0],
  [1, 1, 4],
];

/** Trains a toy policy on two preferences with WPO. The policy has logits of the next token for each previous token; 0 is padding. */
export async function train(backend: string, lossType: LossType = 'sigmoid', steps = 10): Promise<Trained> {
  await tf.setBackend(backend);
  await tf.ready();
  const initial = Array.from({ length: VOCABULARY ** 2 }, (_, i) => Math.sin(1 + 7.3 * i));
  const table = tf.variable(tf.tensor2d(initial, [VOCABULARY, VOCABULARY]));
  const read = (rows: number[][]) => {
    const labels = tf.tensor2d(rows, [2, 3], 'int32');
    const previous = rows.map((row) => [0, ...row.slice(0, -1)]);
    // a product with one-hot rows, because not every backend has a gradient of tf.gather
    const rowsOf = tf.oneHot(tf.tensor1d(previous.flat(), 'int32'), VOCABULARY) as tf.Tensor2D;
    const logits = tf.reshape(tf.matMul(tf.cast(rowsOf, 'float32'), table), [2, 3, VOCABULARY]) as tf.Tensor3D;
    return tokenTerms(logits, labels, tf.greater(labels, 0));
  };
  const lengths = (rows: number[][]) => tf.tensor1d(rows.map((row) => row.filter((id) => id > 0).length));
  const reference = [CHOSEN, REJECTED].map((rows) => tf.tidy(() => sumLogps(read(rows))));
  const loss = () => {
    const [chosen, rejected] = [read(CHOSEN), read(REJECTED)];
    return preferenceLoss(
      {
        chosenLogps: sumLogps(chosen),
        rejectedLogps: sumLogps(rejected),
        refChosenLogps: reference[0]!,
        refRejectedLogps: reference[1]!,
        chosenLengths: lengths(CHOSEN),
        rejectedLengths: lengths(REJECTED),
        weights: wpoWeights({ chosen, rejected }),
      },
      { lossType: lossType as 'ipo', beta: 0.5 },
    );
  };
  const optimizer = tf.train.sgd(0.5);
  const losses: number[] = [];
  const weights: number[] = [];
  for (let step = 0; step < steps; step++) {
    const value = optimizer.minimize(() => tf.mean(loss().losses) as tf.Scalar, true)!;
    losses.push(...(await value.data()));
    value.dispose();
  }
  const { weights: last, chosenRewards, rejectedRewards, margins, ...others } = loss();
  weights.push(...(await last.data()));
  const metrics = Object.values(await readLossMetrics({ weights: last, chosenRewards, rejectedRewards, margins }));
  const values = [...(await table.data())];
  tf.dispose([table, last, chosenRewards, rejectedRewards, margins, ...Object.values(others), ...reference]);
  return { backend: tf.getBackend(), losses, weights, metrics, table: values };
}
