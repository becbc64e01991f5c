// Shows the WPO weights of pairs as they are typed, and takes training steps in the page.
import * as tf from '@tensorflow/tfjs';
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import wasm from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm.wasm?url';
import wasmSimd from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm?url';
import wasmThreaded from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-threaded-simd.wasm?url';
import '@tensorflow/tfjs-backend-webgpu';
import { encodePair, parseRow } from '@wpo/data';
import { adamW, precomputeReference, train, weighPair, wpoPairLoss } from '@wpo/trainer';
import { loadModel } from './load-model.js';

const PAIRS = [
  ['Name a primary color.', 'Red is a primary color.', 'Colors are what we see when light is reflected.'],
  ['What is the capital of France?', 'The capital of France is Paris.', 'Paris is a food that people in France eat.'],
];
const element = (id) => document.getElementById(id);
const log = (line) => {
  element('log').textContent += `${line}\n`;
};

setWasmPaths({
  'tfjs-backend-wasm.wasm': wasm,
  'tfjs-backend-wasm-simd.wasm': wasmSimd,
  'tfjs-backend-wasm-threaded-simd.wasm': wasmThreaded,
});

/** The first of these backends that works here; `?backend=cpu` chooses one. */
async function chooseBackend() {
  const asked = new URLSearchParams(location.search).get('backend');
  for (const name of asked ? [asked] : ['webgpu', 'webgl', 'wasm', 'cpu']) {
    try {
      if (name === 'webgpu' && !(await navigator.gpu?.requestAdapter())) continue;
      if ((await tf.setBackend(name)) && tf.getBackend() === name) return name;
    } catch {} // the next one
  }
  throw new Error(
    `expected a TensorFlow.js backend that works in this browser, found none (asked: ${asked ?? 'any'}).`,
  );
}

/** A row of the table: three texts, and the weight. */
function addRow(texts) {
  const row = element('pairs').insertRow();
  const areas = texts.map((text) => {
    const area = document.createElement('textarea');
    area.value = text;
    row.insertCell().append(area);
    return area;
  });
  const cell = row.insertCell();
  cell.className = 'weight';
  cell.innerHTML = '<output>…</output><div class="bar"></div>';
  return { areas, output: cell.querySelector('output'), bar: cell.querySelector('.bar') };
}

const rows = PAIRS.map(addRow);
const backend = await chooseBackend();
const { policy, reference, text } = await loadModel('./');

/** The token ids of a row's pair. @throws RowError if an answer is empty */
function encode({ areas }, i) {
  const [prompt, chosen, rejected] = areas.map(({ value }) => value);
  const row = parseRow({ prompt, chosen, rejected }, { file: 'this page', line: i + 1 });
  return encodePair(row, { ...text, maxLength: 256 });
}

async function showWeight(row, i) {
  try {
    const { weight } = await weighPair(policy, encode(row, i));
    row.output.textContent = weight.toPrecision(3);
    row.bar.style.width = `${100 * weight}%`;
  } catch (error) {
    row.output.textContent = error.message;
    row.bar.style.width = '0';
  }
}

// One pass at a time: what was typed during a pass is weighed after it.
let queue = Promise.resolve();
const enqueue = (work) => {
  queue = queue.then(work).catch((error) => log(`Error: ${error.message}`));
  return queue;
};
for (const [i, row] of rows.entries()) {
  let timer;
  for (const area of row.areas) {
    area.addEventListener('input', () => {
      clearTimeout(timer);
      timer = setTimeout(() => enqueue(() => showWeight(row, i)), 150);
    });
  }
  enqueue(() => showWeight(row, i));
}

async function trainOn() {
  const pairs = rows.map(encode);
  const run = train({
    policy,
    pairs,
    reference: await precomputeReference({ policy: reference, pairs }),
    loss: wpoPairLoss({ beta: 0.1 }),
    optimizer: adamW(),
    learningRate: Number(element('rate').value),
    schedule: 'constant',
    maxSteps: Number(element('steps').value),
    batchSize: pairs.length,
  });
  for await (const event of run) {
    if (event.type !== 'step') continue;
    const { loss, 'wpo/weight': weight, 'rewards/margins': margin } = event.metrics;
    log(
      `step ${event.step}/${event.totalSteps}  loss ${loss.toFixed(4)}  mean weight ${weight.toPrecision(3)}  margin ${margin.toFixed(4)}`,
    );
  }
  for (const [i, row] of rows.entries()) await showWeight(row, i);
}
element('train').addEventListener('click', async () => {
  element('train').disabled = true;
  await enqueue(trainOn);
  element('train').disabled = false;
});

await queue;
const parameters = policy.parameters.reduce((sum, { shape }) => sum + tf.util.sizeFromShape(shape), 0);
element('status').textContent =
  `${(parameters / 1e6).toFixed(1)} million parameters on TensorFlow.js’s ${backend} backend.`;
element('train').disabled = false;
