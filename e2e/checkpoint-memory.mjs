// node --expose-gc e2e/checkpoint-memory.mjs FILE
//
// Saves a model's trained weights and AdamW's state to FILE and loads them again, and prints as JSON the bytes of the largest weight,
// and by how many bytes the process's memory grew at most during each. Uses the built packages. Linux only.
import { readFileSync, writeFileSync } from 'node:fs';
import { gemma2_2b, loadWeights as loadModel, parametersOf, tensorShapes } from '../packages/gemma/dist/index.js';
import { readTensors, writeTensors } from '../packages/gemma/dist/node.js';
import '../packages/tensorflow/dist/index.js';
import { tensorflowKernels, tensorflowOptimizer } from '../packages/tensorflow/dist/kernels.js';
import { adamW, loadWeights, savedTensor } from '../packages/trainer/dist/index.js';

const [file] = process.argv.slice(2);

const config = { ...gemma2_2b, vocabSize: 200_000, hiddenSize: 256, intermediateSize: 64, numHiddenLayers: 1 };
const shapes = tensorShapes({ ...config, layerTypes: ['sliding_attention'] });
const sizeOf = (shape) => shape.reduce((size, n) => size * n, 1);
const source = {
  names: () => [...shapes.keys()],
  info: (name) => ({ shape: shapes.get(name) }),
  read: async (name) => new Float32Array(sizeOf(shapes.get(name))).fill(0.01),
};
const model = await loadModel({ ...config, layerTypes: ['sliding_attention'] }, source, {
  kernels: tensorflowKernels(),
});
const parameters = parametersOf(model);

const memory = (field) =>
  1024 * Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(readFileSync('/proc/self/status', 'utf8'))[1]);

/** By how many bytes resident memory grew at most during some work. */
async function growth(work) {
  globalThis.gc();
  writeFileSync('/proc/self/clear_refs', '5'); // VmHWM becomes VmRSS
  const before = memory('VmRSS');
  await work();
  return memory('VmHWM') - before;
}

const zeros = (name, shape) => ({ name, shape, type: 'F32', read: async (_, count) => new Float32Array(count) });
const optimizer = adamW({ kernel: tensorflowOptimizer() });
const names = ['exp_avg', 'exp_avg_sq'];
const moments = parameters.flatMap(({ name, shape }) => names.map((moment) => zeros(`${name}.${moment}`, shape)));
await optimizer.load({ step: 1, tensors: moments }, parameters);

const weights = parameters.map(({ name, value }) => savedTensor(name, value()));
const saving = await growth(() => writeTensors(file, weights));
const loading = await growth(() => loadWeights({ parameters }, readTensors(file)));
const savingState = await growth(() => writeTensors(file, optimizer.state().tensors));
const loadingState = await growth(() => optimizer.load({ step: 1, tensors: readTensors(file) }, parameters));
const largest = 4 * Math.max(...parameters.map(({ shape }) => sizeOf(shape)));
console.log(JSON.stringify({ largest, saving, loading, savingState, loadingState }));
