// @ts-check
import { spawnSync } from 'node:child_process';

/**
 * Runs a program and waits for it.
 * @param {string} program
 * @param {string[]} args
 * @param {{cwd?: string, show?: boolean, env?: NodeJS.ProcessEnv}} [options] `show` passes its output to this process's stderr
 * @returns {{ok: boolean, missing: boolean, output: string}} `missing`: the program does not exist
 */
export function run(program, args, { cwd, show = false, env } = {}) {
  const result = spawnSync(program, args, {
    cwd,
    env,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    stdio: ['ignore', show ? 2 : 'pipe', show ? 2 : 'pipe'],
  });
  const failed = /** @type {NodeJS.ErrnoException | undefined} */ (result.error);
  const output = `${result.stdout ?? ''}${result.stderr ?? ''}${failed && failed.code !== 'ENOENT' ? failed.message : ''}`;
  return { ok: result.status === 0, missing: failed?.code === 'ENOENT', output: output.trim() };
}

/**
 * The first of several commands that succeeds.
 * @param {string[][]} candidates each a program and its arguments, e.g. `['g++', '--version']`
 * @param {typeof run} [runner]
 * @returns {string[] | undefined}
 */
export function firstThatRuns(candidates, runner = run) {
  return candidates.find(([program, ...args]) => runner(/** @type {string} */ (program), args).ok);
}

/**
 * The last lines of a program's output, where compilers and pip report errors.
 * @param {string} output
 * @param {number} [lines]
 */
export const tail = (output, lines = 12) => output.split('\n').slice(-lines).join('\n');
