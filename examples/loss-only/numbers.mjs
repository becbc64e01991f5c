// The same two pairs over plain numbers, without TensorFlow.js, as in a server that gets log-probs from elsewhere. Each answer has
// its own number of tokens, without padding.
import { preferenceLoss, sumLogps, wpoWeights } from '@wpo/loss/scalar';

const pairs = [
  {
    chosen: { logps: [-0.2, -0.9, -0.1], logSumSquares: [-0.3, -0.8, -0.2] },
    rejected: { logps: [-0.7, -0.4], logSumSquares: [-0.6, -0.5] },
  },
  {
    chosen: { logps: [-2.3, -4.6], logSumSquares: [-0.4, -0.5] },
    rejected: { logps: [-1.2, -3.0], logSumSquares: [-0.9, -0.7] },
  },
];
const batch = {
  chosenLogps: pairs.map((pair) => sumLogps(pair.chosen)),
  rejectedLogps: pairs.map((pair) => sumLogps(pair.rejected)),
  refChosenLogps: [-1.4, -6.5],
  refRejectedLogps: [-1, -4.5],
  chosenLengths: pairs.map((pair) => pair.chosen.logps.length),
  rejectedLengths: pairs.map((pair) => pair.rejected.logps.length),
  weights: pairs.map((pair) => wpoWeights(pair)),
};

const show = (name, numbers) =>
  console.log(name.padEnd(30), JSON.stringify([...numbers].map((x) => Number(x.toFixed(4)))));
show('weights', batch.weights);
for (const lossType of ['sigmoid', 'ipo', 'simpo', 'orpo']) {
  const { unweightedLosses, losses } = preferenceLoss(batch, { lossType });
  show(`${lossType} losses`, unweightedLosses);
  show(`${lossType} losses, weighted`, losses);
}
const mpo = preferenceLoss(batch, { lossType: ['sigmoid', 'bco_pair', 'sft'], lossWeights: [0.8, 0.2, 1] });
show('MPO losses, weighted', mpo.losses);
