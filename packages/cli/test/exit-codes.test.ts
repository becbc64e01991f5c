import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { constants } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { goldenConfig, temporaryFolder } from './golden';
import { startWpo, wpo, writeRows } from './wpo';

const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
const documented = [...readme.matchAll(/^\| (\d+) +\| /gm)].map(([, code]) => Number(code));

test('the README lists the exit codes that follow', () => {
  expect(documented).toEqual([0, 1, 3, 130, 143, 137]);
});

test.each([
  [['--version'], 0],
  [['train', '--help'], 0],
  [['trian'], 1],
  [['weigh', '--model'], 1],
  [['train', 'no.yaml'], 1],
  [['export', 'no-run'], 1],
  [['inspect', 'no.jsonl'], 1],
])('wpo %j exits with %i', async (args, code) => {
  expect((await wpo(...args)).status).toBe(code);
});

test('an error in the configuration exits with 1', async () => {
  const file = goldenConfig(temporaryFolder());
  expect((await wpo('train', file, '--set', 'beta=-1')).status).toBe(1);
});

/** A server that never answers a question, and says when it got one. */
let asked = () => {};
const silent = createServer(({ method }, response) => {
  if (method === 'GET') response.end(JSON.stringify({ data: [{ id: 'm' }] }));
  else asked();
});
beforeAll(() => new Promise<void>((resolve) => void silent.listen(0, '127.0.0.1', resolve)));
afterAll(() => silent.closeAllConnections());

test.each(['SIGINT', 'SIGTERM', 'SIGKILL'] as const)('%s', async (signal) => {
  const folder = temporaryFolder();
  const prompts = join(folder, 'prompts.jsonl');
  writeRows(prompts, [{ prompt: 'Why?' }]);
  const out = join(folder, 'answers.jsonl');
  writeFileSync(out, '');
  const { port } = silent.address() as AddressInfo;
  const question = new Promise<void>((resolve) => {
    asked = resolve;
  });
  const child = startWpo(['sample', '--endpoint', `http://127.0.0.1:${port}`, '--prompts', prompts, '--out', out]);
  await question;
  child.kill(signal);
  const ended = await child.ended;
  const status = ended.status ?? 128 + constants.signals[ended.signal as NodeJS.Signals];
  expect(status).toBe(128 + constants.signals[signal]);
  expect(documented).toContain(status);
});
