// @ts-check
import { spawnSync } from 'node:child_process';

/**
 * Runs a program to its end.
 * @param {string} program
 * @param {string[]} args
 * @param {{cwd?: string, show?: boolean, env?: NodeJS.ProcessEnv}} [options] `show` passes its output on to this process's stderr as it comes
 * @returns {{ok: boolean, missing: boolean, output: string}} `missing`: there is no such program
 */
export function run(program, args, { cwd, show = false, env } = {}) {
  const done = spawnSync(program, args, {
    cwd,
    env,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    stdio: ['ignore', show ? 2 : 'pipe', show ? 2 : 'pipe'],
  });
  const failed = /** @type {NodeJS.ErrnoException | undefined} */ (done.error);
  const output = `${done.stdout ?? ''}${done.stderr ?? ''}${failed && failed.code !== 'ENOENT' ? failed.message : ''}`;
  return { ok: done.status === 0, missing: failed?.code === 'ENOENT', output: output.trim() };
}

/**
 * The first of several commands that runs.
 * @param {string[][]} candidates each a program and the arguments that make it answer, e.g. `['g++', '--version']`
 * @param {typeof run} [runner]
 * @returns {string[] | undefined}
 */
export function firstThatRuns(candidates, runner = run) {
  return candidates.find(([program, ...args]) => runner(/** @type {string} */ (program), args).ok);
}

/**
 * The end of a program's output, where compilers and pip say what went wrong.
 * @param {string} output
 * @param {number} [lines]
 */
export const tail = (output, lines = 12) => output.split('\n').slice(-lines).join('\n');
