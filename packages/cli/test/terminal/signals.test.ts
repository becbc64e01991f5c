import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { storedBytes } from '@wpo/tensorflow/kernels';
import { beforeAll, expect, test } from 'vitest';
import { main } from '../../src/main';
import { loadBackend, withModel } from '../../src/models';
import { modelFolder, pairsFile, temporaryFolder } from '../golden';
import { capture, writeRows } from '../wpo';

let handlers = 0;
const handlerCount = () => process.listenerCount('SIGINT') + process.listenerCount('SIGTERM');
beforeAll(async () => {
  handlers = handlerCount();
  await loadBackend();
});

/** Runs `wpo` and sends a signal once stderr has this text, or at once. */
async function interrupted(signal: 'SIGINT' | 'SIGTERM', when: string | undefined, ...args: string[]) {
  const terminal = capture();
  let isSent = false;
  const send = () => {
    if (!isSent) process.emit(signal, signal);
    isSent = true;
  };
  const stderr = {
    write(text: string) {
      terminal.stderr.write(text);
      if (when !== undefined && text.includes(when)) send();
    },
  };
  const running = main(args, { stdout: terminal.stdout, stderr });
  if (when === undefined) setTimeout(send, 1);
  return { status: await running, out: terminal.out(), err: terminal.err() };
}

const stopped =
  'stopping after the current computation. A second signal stops at once.\n' +
  'Stopped. Nothing was written: run the same command again to start over.\n';

test.each([
  ['weigh', 'weigh 1/', ['weigh', '--model', modelFolder, '--pairs', pairsFile]],
  [
    'weigh with a reference',
    'reference 1/',
    ['weigh', '--model', modelFolder, '--ref', modelFolder, '--pairs', pairsFile],
  ],
])('%s stops at a signal, frees its models and leaves no file', async (_, when, args) => {
  const folder = temporaryFolder();
  const tensors = tf.memory().numTensors;
  const { status, out, err } = await interrupted('SIGINT', when, ...args, '--out', join(folder, 'weights.jsonl'));
  expect({ status, out }).toEqual({ status: 130, out: '' });
  expect(err).toContain(`SIGINT: ${stopped}`);
  expect(readdirSync(folder)).toEqual([]);
  expect(tf.memory().numTensors).toBe(tensors);
  expect(storedBytes()).toEqual({ allocated: 0, mapped: 0 });
});

test.each(['model 1/', 'sample 1/', 'reference 1/'])('eval --pairs stops at a signal after "%s"', async (when) => {
  const tensors = tf.memory().numTensors;
  const args = ['eval', '--pairs', pairsFile, '--model', modelFolder, '--ref', modelFolder, '--kl-prompts', '4'];
  const { status, out, err } = await interrupted('SIGTERM', when, ...args, '--max-new-tokens', '2');
  expect({ status, out }).toEqual({ status: 143, out: '' });
  expect(err).toContain(`SIGTERM: ${stopped}`);
  expect(tf.memory().numTensors).toBe(tensors);
});

test('pair stops at a signal and leaves no file', async () => {
  const folder = temporaryFolder();
  const answers = join(folder, 'scored.jsonl');
  const rows = Array.from({ length: 4000 }, (_, i) => ({
    prompt_id: String(i >> 1),
    score: i % 2,
    completion: `text ${i}`,
  }));
  writeRows(
    answers,
    rows.map((row) => ({ prompt: `p ${row.prompt_id}`, source: 's', seed: row.score, ...row })),
  );
  const out = join(folder, 'pairs.jsonl');
  const { status, err } = await interrupted('SIGINT', undefined, 'pair', '--answers', answers, '--out', out);
  expect({ status, err }).toEqual({ status: 130, err: `SIGINT: ${stopped}` });
  expect(existsSync(out)).toBe(false);
  expect(readdirSync(folder)).toEqual(['scored.jsonl']);
});

test('after a command no signal handler is left', () => {
  expect(handlerCount()).toBe(handlers);
});

test('a model is freed when the work with it throws', async () => {
  const tensors = tf.memory().numTensors;
  const use = { kind: 'score', tokens: 0, answerTokens: 0 } as const;
  const options = { ...(await loadBackend()), terminal: capture(), use };
  const work = withModel(modelFolder, options, async () => {
    expect(storedBytes().mapped).toBeGreaterThan(0);
    throw new Error('no');
  });
  await expect(work).rejects.toThrow('no');
  expect(tf.memory().numTensors).toBe(tensors);
});
