import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findRuntime } from '../../../e2e/runtimes';
import { buildPublished, root } from './published';

const [bun, deno] = [findRuntime('bun'), findRuntime('deno')];

/** The command with which each runtime runs a file. */
const RUNTIMES = [
  ['Node', process.execPath, []],
  ['Bun', bun, ['run']],
  ['Deno', deno, ['run', '--quiet', '--no-lock', '--node-modules-dir=manual', '--allow-read', '--allow-env']],
] as const;

let project: string;
beforeAll(() => {
  const published = buildPublished();
  project = mkdtempSync(join(tmpdir(), 'wpo-runtimes-'));
  const home = join(project, 'node_modules/@wpo/loss');
  cpSync(published.folder, join(home, 'dist'), { recursive: true });
  cpSync(join(root, 'package.json'), join(home, 'package.json'));
  published.remove();
  mkdirSync(join(project, 'node_modules/@tensorflow'));
  for (const name of ['tfjs-core', 'tfjs-backend-cpu']) {
    symlinkSync(
      realpathSync(join(root, 'node_modules/@tensorflow', name)),
      join(project, 'node_modules/@tensorflow', name),
    );
  }
  writeFileSync(join(project, 'package.json'), '{ "private": true }');
});
afterAll(() => rmSync(project, { recursive: true, force: true }));

const NUMBERS = `
  const pair = { chosenLogps: -1, rejectedLogps: -3, refChosenLogps: -2, refRejectedLogps: -2, weights: 0.25 };
  const { losses } = preferenceLoss({ ...pair, chosenLengths: 2, rejectedLengths: 4 }, { lossType: ['sigmoid', 'ipo'], beta: 0.5 });
  console.log(wpoLoss(pair, { beta: 0.5 }).losses.toFixed(6), losses.toFixed(6));
`;
const TENSORS = `
  const [c, r, ref] = [-1, -3, -2].map((x) => tf.tensor1d([x]));
  const loss = (x) => dpoLoss({ chosenLogps: x, rejectedLogps: r, refChosenLogps: ref, refRejectedLogps: ref }, { beta: 0.5 }).losses;
  console.log(loss(c).dataSync()[0].toFixed(6), tf.grad(loss)(c).dataSync()[0].toFixed(6));
`;

describe.each(RUNTIMES)('%s', (_name, program, args) => {
  const run = (file: string, code: string) => {
    writeFileSync(join(project, file), code);
    return execFileSync(program!, [...args, file], { cwd: project, encoding: 'utf8', stdio: 'pipe' }).trim();
  };

  it.skipIf(program === null)('loads the losses over numbers by import and by require', () => {
    // 0.25 · 0.313262; 0.25 · (0.313262 + 0.0625)
    const imported = run('numbers.mjs', `import { preferenceLoss, wpoLoss } from '@wpo/loss/scalar'; ${NUMBERS}`);
    const required = run('numbers.cjs', `const { preferenceLoss, wpoLoss } = require('@wpo/loss/scalar'); ${NUMBERS}`);
    expect(imported).toBe('0.078315 0.093940');
    expect(required).toBe(imported);
  });

  it.skipIf(program === null)('loads the losses over tensors by import and by require', () => {
    const imported = run(
      'tensors.mjs',
      `import '@tensorflow/tfjs-backend-cpu'; import * as tf from '@tensorflow/tfjs-core'; import { dpoLoss } from '@wpo/loss'; ${TENSORS}`,
    );
    const required = run(
      'tensors.cjs',
      `require('@tensorflow/tfjs-backend-cpu'); const tf = require('@tensorflow/tfjs-core'); const { dpoLoss } = require('@wpo/loss'); ${TENSORS}`,
    );
    expect(imported).toBe('0.313262 -0.134471');
    expect(required).toBe(imported);
  });
});
