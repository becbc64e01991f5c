// node e2e/memory.mjs MODEL PAIRS STEPS EVERY
//
// Trains as `wpo train` does, with evaluations and checkpoints and a reference model that is mapped from its file, and prints a JSON
// line every EVERY steps: `tensors` and `tensor_bytes` as TensorFlow.js counts them, `trained_bytes` of the trained weights, `allocated_bytes` and
// `mapped_bytes` outside of TensorFlow.js, `resident_bytes` of the process, `heap_bytes` of JavaScript after a garbage
// collection, `handles` that keep Node's event loop alive, and open `files`. Uses the built packages. Run node with --expose-gc.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { epochOrder } from '../packages/data/dist/index.js';
import { loadPairs, loadTokenizerFolder } from '../packages/data/dist/node.js';
import { gemmaPolicy, loadWeights } from '../packages/gemma/dist/index.js';
import { readModelFolder, readTensors, writeTensors } from '../packages/gemma/dist/node.js';
import '../packages/tensorflow/dist/index.js';
import {
  storedBytes,
  tensorflowGradientNorm,
  tensorflowKernels,
  tensorflowOptimizer,
  weightStorage,
} from '../packages/tensorflow/dist/kernels.js';
import { adamW, referenceLogps, train } from '../packages/trainer/dist/index.js';
import { fileCheckpoints, metricsFile } from '../packages/trainer/dist/node.js';

const [model, file, steps, every] = process.argv.slice(2);

const encoding = { ...(await loadTokenizerFolder(model)), maxLength: 384, maxPromptLength: 256 };
const { pairs } = await loadPairs(file, encoding);
const { config, checkpoint } = await readModelFolder(model);
const kernels = tensorflowKernels();
const policy = gemmaPolicy(await loadWeights(config, checkpoint, { kernels }), { kernels });
const { loadTensor } = weightStorage();
const mapped = gemmaPolicy(await loadWeights(config, checkpoint, { trainable: false, loadTensor }), { kernels });
await checkpoint.close();
const reference = (some) => referenceLogps(mapped, some);

const sizeOf = (shape) => shape.reduce((size, n) => size * n, 1);
const trained_bytes = policy.parameters.reduce((bytes, { shape }) => bytes + 4 * sizeOf(shape), 0);
const folder = mkdtempSync(join(tmpdir(), 'wpo-memory-'));
try {
  const run = train({
    policy,
    pairs,
    reference,
    optimizer: adamW({ kernel: tensorflowOptimizer() }),
    computeNorm: tensorflowGradientNorm(),
    order: (epoch) => epochOrder(pairs.length, 0, epoch),
    learningRate: 1e-4,
    maxSteps: Number(steps),
    gradientAccumulationSteps: 2,
    evaluation: { pairs: pairs.slice(0, 4), reference },
    evalSteps: Number(every),
    saveSteps: Number(every),
    metrics: metricsFile(join(folder, 'metrics.jsonl')),
    checkpoints: fileCheckpoints(folder, { writeTensors, readTensors, saveTotalLimit: 1 }),
  });
  for await (const { type, step } of run) {
    if (type !== 'step' || step % Number(every) !== 0) continue;
    globalThis.gc?.();
    const { numTensors: tensors, numBytes: tensor_bytes } = tf.memory();
    const { allocated: allocated_bytes, mapped: mapped_bytes } = storedBytes();
    const { rss: resident_bytes, heapUsed: heap_bytes } = process.memoryUsage();
    const handles = process.getActiveResourcesInfo().length;
    const files = readdirSync('/proc/self/fd').length;
    const bytes = { tensor_bytes, trained_bytes, allocated_bytes, mapped_bytes, resident_bytes, heap_bytes };
    console.log(JSON.stringify({ step, tensors, ...bytes, handles, files }));
  }
} finally {
  rmSync(folder, { recursive: true });
}
