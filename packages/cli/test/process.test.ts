import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { goldenConfig, modelFolder, pairsFile, temporaryFolder } from './golden';
import { bin } from './wpo';

// What happens around a command: its reader goes away, or a promise is rejected that nothing waits for.

/** Runs a program to its end. `reader` is a command that reads its stdout, and with `errors` its stderr as well. */
async function run(
  args: readonly string[],
  { reader = 'cat', errors = false, env = {} }: { reader?: string; errors?: boolean; env?: NodeJS.ProcessEnv } = {},
) {
  const script = `{ "$@"; echo "status $?" >&3; } ${errors ? '2>&1' : ''} | ${reader}`;
  const child = spawn('sh', ['-c', script, 'sh', process.execPath, ...args], {
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  });
  const [out, err, status] = [1, 2, 3].map((i) => {
    const chunks: string[] = [];
    (child.stdio[i] as NodeJS.ReadableStream).on('data', (chunk) => chunks.push(String(chunk)));
    return chunks;
  });
  await new Promise((resolve) => child.on('close', resolve));
  return { out: out!.join(''), err: err!.join(''), status: Number(status!.join('').match(/^status (\d+)$/m)?.[1]) };
}

const STACK = /^ +at |fault of wpo|EPIPE/m;

test.each([
  ['--help', false],
  ['train --help', true],
  [`inspect ${pairsFile}`, false],
  [`inspect ${pairsFile} --json`, true],
  ['doctor', true],
  [`generate --model ${modelFolder} --prompt Why? --max-new-tokens 4`, true],
  ['train no.yaml', true],
])('wpo %s ends without a stack if its reader is gone (stderr too: %s)', async (command, errors) => {
  const { out, err, status } = await run([bin, ...command.split(' ')], { reader: 'head -c 0', errors });
  expect(out).toBe('');
  expect(err).not.toMatch(STACK);
  expect(err === '' || !errors).toBe(true);
  expect([0, 1]).toContain(status);
});

test.each([false, true])('training continues if its reader is gone (stderr too: %s)', async (errors) => {
  const folder = temporaryFolder();
  const args = [bin, 'train', goldenConfig(folder), '--set', 'max_steps=2'];
  const { err, status } = await run(args, { reader: 'head -c 0', errors });
  expect(err).not.toMatch(STACK);
  expect(status, err).toBe(0);
  expect(existsSync(join(folder, 'run', 'model', 'model.safetensors'))).toBe(true);
});

/** Runs code once `wpo` has its handlers of what nothing else handles. */
const preload = (code: string) => [
  '--import',
  `data:text/javascript,${encodeURIComponent(
    `process.on('newListener', (name) => { if (name === 'unhandledRejection') setImmediate(() => { ${code} }); });`,
  )}`,
];

test.each([
  ['a rejection', "Promise.reject(new TypeError('planted'));", 'TypeError: planted'],
  ['a rejection without an error', "Promise.reject('planted');", "Uncaught value: 'planted'"],
  ['an exception', "throw new RangeError('planted');", 'RangeError: planted'],
])('%s that nothing handles is a request to report it, with exit code 1', async (_, code, first) => {
  const folder = temporaryFolder();
  const { out, err, status } = await run([...preload(code), bin, 'inspect', pairsFile], {
    env: { TMPDIR: folder, WPO_DEBUG: '' },
  });
  expect(status).toBe(1);
  expect(out).toBe('');
  expect(err).toMatch(/^This is a fault of wpo, not of your input: /);
  expect(err).toContain(`${first}\nPlease report it`);
  expect(err).not.toMatch(/^ +at /m);
  const [file = ''] = readdirSync(folder).filter((name) => name.startsWith('wpo-error-'));
  expect(err).toContain(join(folder, file));
  expect(readFileSync(join(folder, file), 'utf8')).toContain(first);
});
