import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { tensorflowVersion } from '@wpo/tensorflow';
import { expect, it, vi } from 'vitest';
import { loadTensorflow } from '../src/load';
import { scratch } from './install/scratch';

it('makes TensorFlow the backend of tfjs-core', () => {
  expect(tf.getBackend()).toBe('tensorflow');
  expect(tensorflowVersion).toMatch(/^2\.\d+\.\d+$/);
});

it('multiplies matrices and reads the result', () => {
  const a = tf.tensor2d([1, 2, 3, 4], [2, 2]);
  const b = tf.tensor2d([5, 6, 7, 8], [2, 2]);
  expect([...tf.matMul(a, b).dataSync()]).toEqual([19, 22, 43, 50]);
});

it('runs topk, whose kernel calls a function that Node 23 removed', () => {
  const { values, indices } = tf.topk(tf.tensor1d([3, 9, 4]), 2);
  expect([...values.dataSync()]).toEqual([9, 4]);
  expect([...indices.dataSync()]).toEqual([1, 2]);
});

it('has gradients registered', () => {
  const gradient = tf.grad((x: tf.Tensor) => tf.sum(tf.mul(tf.tanh(x), x)))(tf.tensor1d([0, 1]));
  // d/dx x tanh(x) = tanh(x) + x (1 - tanh(x)^2)
  const t = Math.tanh(1);
  expect([...gradient.dataSync()]).toEqual([0, expect.closeTo(t + 1 - t * t, 6)]);
});

/** A folder from which tfjs-node-gpu resolves to the given code. */
function withTfjsNode(code: string): NodeJS.Require {
  const folder = scratch();
  const at = join(folder, 'node_modules/@tensorflow/tfjs-node-gpu');
  mkdirSync(at, { recursive: true });
  writeFileSync(join(at, 'package.json'), '{"main": "index.js"}');
  writeFileSync(join(at, 'index.js'), code);
  return createRequire(join(folder, 'file.js'));
}

it('sets the GPU options of TensorFlow, unless the user sets them', () => {
  expect(process.env).toMatchObject({ TF_FORCE_GPU_ALLOW_GROWTH: 'true', NVIDIA_TF32_OVERRIDE: '0' });
  vi.stubEnv('NVIDIA_TF32_OVERRIDE', '1');
  loadTensorflow(withTfjsNode(''));
  expect(process.env.NVIDIA_TF32_OVERRIDE).toBe('1');
  vi.unstubAllEnvs();
});

const ADVICE = 'Run `npx wpo-tensorflow install`, or `npx wpo-tensorflow doctor` to find the cause.';

it('names the command that installs TensorFlow if it is missing or broken', () => {
  const finds = () => {
    throw new Error("Cannot find module '@tensorflow/tfjs-node-gpu/package.json'");
  };
  expect(() =>
    loadTensorflow(Object.assign(finds, { ...createRequire(import.meta.url), resolve: finds as never })),
  ).toThrow(`@tensorflow/tfjs-node-gpu is not installed. ${ADVICE}`);
  // tfjs-node's message has several lines
  const missing =
    "throw new Error('The Node.js native addon module (tfjs_binding.node) can not be found at path: x. \\nPlease')";
  expect(() => loadTensorflow(withTfjsNode(missing))).toThrow(
    `TensorFlow is not installed under @tensorflow/tfjs-node-gpu. ${ADVICE}`,
  );
  const broken = "throw new Error('libtensorflow_cc.so.2: cannot open shared object file')";
  expect(() => loadTensorflow(withTfjsNode(broken))).toThrow(
    `TensorFlow could not be loaded: libtensorflow_cc.so.2: cannot open shared object file. ${ADVICE}`,
  );
});

/** Loads the addons as `loadTensorflow` does, in another process. */
function loadWith(level: string): string {
  const lib = createRequire(import.meta.url)
    .resolve('@tensorflow/tfjs-node-gpu/package.json')
    .replace(/package\.json$/, 'lib/napi-v8/');
  const code = `for (const name of ['quiet', 'tfjs_binding']) require(${JSON.stringify(lib)} + name + '.node')`;
  return spawnSync(process.execPath, ['-e', code], {
    encoding: 'utf8',
    env: { ...process.env, TF_CPP_MIN_LOG_LEVEL: level },
  }).stderr;
}

it('silences TensorFlow while it loads, unless TF_CPP_MIN_LOG_LEVEL asks for its log', () => {
  expect(loadWith('2')).toBe('');
  expect(loadWith('0')).toContain('oneDNN custom operations are on');
});
