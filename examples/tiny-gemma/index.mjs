// node index.mjs [MODEL] [PAIRS] [OUT]: trains a Gemma-2 on preference pairs with WPO, answers a prompt before and after, and saves
// the model as a folder that transformers can load. Default: the demo's model and its first 24 pairs.
import '@wpo/tensorflow'; // registers TensorFlow as the backend of TensorFlow.js
import { fileURLToPath } from 'node:url';
import { encodePrompt } from '@wpo/data';
import { loadPairs, loadTokenizerFolder } from '@wpo/data/node';
import { gemmaPolicy, generate, loadWeights } from '@wpo/gemma';
import { readModelFolder, writeModelFolder } from '@wpo/gemma/node';
import { tensorflowKernels } from '@wpo/tensorflow/kernels';
import { adamW, precomputeReference, train, wpoPairLoss } from '@wpo/trainer';

const demo = (path) => fileURLToPath(new URL(`../../demo/${path}`, import.meta.url));
const [source = demo('model'), file = demo('data/train.jsonl'), target = 'trained-model'] = process.argv.slice(2);

const text = await loadTokenizerFolder(source);
const { config, configJson, checkpoint } = await readModelFolder(source);
const kernels = tensorflowKernels(); // native kernels; leave them out for any other backend
const policy = gemmaPolicy(await loadWeights(config, checkpoint, { kernels }), { kernels });
await checkpoint.close();

async function answer(prompt) {
  const stopIds = [...config.eosTokenId, text.tokenizer.tokenId('<end_of_turn>')];
  const options = { kernels, stopIds, maxNewTokens: 48, temperature: 0.7, topP: 0.9, seed: 1 };
  const ids = await generate(policy.model, encodePrompt([{ role: 'user', content: prompt }], text), options);
  return text.tokenizer.decode(ids, { skipSpecialTokens: true }).trim();
}

const prompt = 'Suggest a snack that you can make in under 5 minutes.';
console.log('before:', await answer(prompt));

const { pairs: all } = await loadPairs(file, { ...text, maxLength: 384, maxPromptLength: 256 });
const pairs = all.slice(0, 24);
const reference = await precomputeReference({ policy, pairs }); // log-probs before training
const run = train({
  policy,
  pairs,
  reference,
  optimizer: adamW(),
  loss: wpoPairLoss({ beta: 0.1 }),
  learningRate: 5e-4,
  epochs: 2,
  gradientAccumulationSteps: 4,
});
for await (const event of run) {
  if (event.type !== 'step') continue;
  const { step, totalSteps, metrics } = event;
  const { loss, 'wpo/weight': weight, 'rewards/margins': margin } = metrics;
  console.log(
    `step ${step}/${totalSteps}  loss ${loss.toFixed(4)}  weight ${weight.toFixed(2)}  margin ${margin.toFixed(4)}`,
  );
}

console.log('after:', await answer(prompt));
const tensors = policy.parameters.map(({ name, shape, value }) => ({ name, shape, data: () => value().data() }));
await writeModelFolder(target, { config, configJson, tensors, dtype: 'F32', copyFrom: source });
console.log(`Saved the trained model to ${target}`);
