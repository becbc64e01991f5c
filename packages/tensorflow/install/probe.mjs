// @ts-check
import { fileURLToPath } from 'node:url';
import { run } from './command.mjs';

// by way of the package's folder, so that it is found from a bundle in dist too
const PROCESS = fileURLToPath(new URL('../install/probe-process.mjs', import.meta.url));

/**
 * Loads TensorFlow in a process of its own and computes with it.
 * @returns {{version: string, usesGpu: boolean, gflops: number} | {error: string}} gflops: of a float32 matrix product;
 *   error: what Node or the dynamic loader said
 */
export function probe() {
  const env = { ...process.env, TF_CPP_MIN_LOG_LEVEL: '2' };
  const done = run(process.execPath, [PROCESS], { env });
  const answer = done.output.split('\n').find((line) => line.startsWith('{"version"'));
  if (done.ok && answer) return JSON.parse(answer);
  const lines = done.output.split('\n').filter((line) => line.trim() !== '');
  const reason = lines.find((line) => /^(\w*Error|Fatal|Illegal|terminate|F\d)/.test(line.trim())) ?? lines.at(-1);
  return { error: reason?.trim() ?? 'its process ended without a word' };
}
