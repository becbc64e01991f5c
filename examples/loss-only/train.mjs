// WPO in a training loop of your own: a table of logits learns two preferences with TensorFlow.js's Adam, on its CPU backend.
// The model here is a bigram table; any function from token ids to logits takes its place.
import * as tf from '@tensorflow/tfjs';
import { sumLogps, tokenTerms, wpoLoss, wpoWeights } from '@wpo/loss';

const VOCABULARY = 6;
const PADDING = 0;
const CHOSEN = [
  [1, 2, 3],
  [2, 4, PADDING],
];
const REJECTED = [
  [3, 3, PADDING],
  [1, 1, 5],
];

const initial = tf.tensor2d(
  Array.from({ length: VOCABULARY ** 2 }, (_, i) => Math.sin(1 + 7.3 * i)),
  [6, 6],
);
const table = tf.variable(initial);

/** Logits of each token of the answers, [B, T, V]: the row of the token before it. */
function model(answers) {
  const before = answers.map((answer) => [PADDING, ...answer.slice(0, -1)]);
  const rows = tf.oneHot(tf.tensor1d(before.flat(), 'int32'), VOCABULARY);
  return tf.reshape(tf.matMul(tf.cast(rows, 'float32'), table), [answers.length, -1, VOCABULARY]);
}

/** log p of each token and log Σ p² at its position, which the loss and the weights are made of. */
function terms(answers) {
  const labels = tf.tensor2d(answers, undefined, 'int32');
  return tokenTerms(model(answers), labels, tf.notEqual(labels, PADDING));
}

// the reference: the log-probs before training
const refChosenLogps = tf.tidy(() => sumLogps(terms(CHOSEN)));
const refRejectedLogps = tf.tidy(() => sumLogps(terms(REJECTED)));

const optimizer = tf.train.adam(0.05);
for (let step = 1; step <= 20; step++) {
  const loss = optimizer.minimize(() => {
    const [chosen, rejected] = [terms(CHOSEN), terms(REJECTED)];
    const policy = { chosenLogps: sumLogps(chosen), rejectedLogps: sumLogps(rejected) };
    const weights = wpoWeights({ chosen, rejected }); // no gradient flows through them
    return tf.mean(wpoLoss({ ...policy, refChosenLogps, refRejectedLogps, weights }, { beta: 0.5 }).losses);
  }, true);
  if (step === 1 || step % 5 === 0) {
    const weights = tf.tidy(() => wpoWeights({ chosen: terms(CHOSEN), rejected: terms(REJECTED) }).arraySync());
    const shown = weights.map((weight) => weight.toFixed(2)).join(', ');
    console.log(`step ${String(step).padStart(2)}  loss ${loss.dataSync()[0].toFixed(4)}  weights ${shown}`);
  }
  loss.dispose();
}
