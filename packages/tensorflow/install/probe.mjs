// @ts-check
import { fileURLToPath } from 'node:url';
import { run } from './command.mjs';

// a path that is right from install/ and from a bundle in dist/
const PROCESS = fileURLToPath(new URL('../install/probe-process.mjs', import.meta.url));

/**
 * Loads TensorFlow in another process and multiplies matrices with it.
 * @returns {{version: string, usesGpu: boolean, store: boolean, gflops: number} | {error: string}} store: whether weights can be
 *   held in bfloat16; gflops: the speed of a float32 matrix product; error: the message of Node or the dynamic loader
 */
export function probe() {
  const env = { ...process.env, TF_CPP_MIN_LOG_LEVEL: '2' };
  const result = run(process.execPath, [PROCESS], { env });
  const answer = result.output.split('\n').find((line) => line.startsWith('{"version"'));
  if (result.ok && answer) return JSON.parse(answer);
  const lines = result.output.split('\n').filter((line) => line.trim() !== '');
  const reason = lines.find((line) => /^(\w*Error|Fatal|Illegal|terminate|F\d)/.test(line.trim())) ?? lines.at(-1);
  return { error: reason?.trim() ?? 'its process ended without a message' };
}
