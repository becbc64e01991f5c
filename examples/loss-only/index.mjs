// Computes the weights, losses and gradients of two preference pairs from their log-probs under a policy and its reference. The
// log-probs can come from any model.
import * as tf from '@tensorflow/tfjs';
import { sumLogps, wpoLoss, wpoWeights } from '@wpo/loss';

// One row per pair and one column per token. The second chosen answer ends after two tokens.
const chosen = {
  logps: tf.tensor2d([
    [-0.2, -0.9, -0.1],
    [-2.3, -4.6, 0],
  ]),
  logSumSquares: tf.tensor2d([
    [-0.3, -0.8, -0.2],
    [-0.4, -0.5, 0],
  ]),
  mask: tf.tensor2d([
    [1, 1, 1],
    [1, 1, 0],
  ]),
};
const rejected = {
  logps: tf.tensor2d([
    [-0.7, -0.4],
    [-1.2, -3.0],
  ]),
  logSumSquares: tf.tensor2d([
    [-0.6, -0.5],
    [-0.9, -0.7],
  ]),
  mask: tf.ones([2, 2]),
};
const reference = { refChosenLogps: tf.tensor1d([-1.4, -6.5]), refRejectedLogps: tf.tensor1d([-1, -4.5]) };

const losses = (chosenLogps, rejectedLogps) =>
  wpoLoss({
    chosenLogps: sumLogps({ ...chosen, logps: chosenLogps }),
    rejectedLogps: sumLogps({ ...rejected, logps: rejectedLogps }),
    ...reference,
    weights: wpoWeights({ chosen, rejected }),
  });

const { weights, dpoLosses, losses: wpoLosses } = losses(chosen.logps, rejected.logps);
const [gradient] = tf.grads((c, r) => tf.mean(losses(c, r).losses))([chosen.logps, rejected.logps]);

const show = (name, tensor) =>
  console.log(
    name.padEnd(30),
    JSON.stringify(tensor.arraySync(), (_, x) => (typeof x === 'number' ? Number(x.toFixed(4)) : x)),
  );
show('weights', weights);
show('DPO losses', dpoLosses);
show('WPO losses', wpoLosses);
show('gradient of chosen log-probs', gradient);
