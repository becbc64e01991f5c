import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { goldenConfig, modelFolder, pairsFile, temporaryFolder } from './golden';

const bin = fileURLToPath(new URL('../bin/wpo.mjs', import.meta.url));
const rowsOf = (name: string) => fileURLToPath(new URL(`../../data/test/fixtures/sources/${name}`, import.meta.url));
const works = (command: string, ...args: string[]) => spawnSync(command, args, { stdio: 'ignore' }).status === 0;
const canLimit = works('prlimit', '--nofile=64', 'true');

/** Runs `wpo` with a limit of the system. */
function limited(limit: string, ...args: string[]) {
  const { status, signal, stdout, stderr } = spawnSync('prlimit', [limit, process.execPath, bin, ...args], {
    encoding: 'utf8',
  });
  return { status, signal, out: stdout, err: stderr };
}

describe.skipIf(!canLimit)('limits of the system are explained, and nothing incomplete is left (needs prlimit)', () => {
  test('the size of files', () => {
    const folder = temporaryFolder();
    const { status, err } = limited('--fsize=200000', 'train', goldenConfig(folder), '--set', 'max_steps=1');
    expect(status, err).toBe(1);
    expect(err).toContain('cannot be written: expected no limit on the size of a file, found one that is too small.');
    expect(readdirSync(join(folder, 'run')).sort()).toEqual([
      'config.yaml',
      'metrics.jsonl',
      'pairs.jsonl',
      'reference',
      'report',
    ]);
  });

  test('open files', () => {
    const { status, err } = limited('--nofile=24', 'inspect', 'x.jsonl');
    expect(status, err).toBe(1);
    expect(err).toMatch(/^[^\n]*expected a free file descriptor, found that this process has none left\.[^\n]*\n$/);
  });

  test.each([1.4e9, 1.8e9, 2e9])('address space of %d bytes', (bytes) => {
    const { status, signal, err } = limited(`--as=${bytes}`, 'generate', '--model', modelFolder, '--prompt', 'x');
    expect(signal, err).toBeNull();
    expect(status, err).toBe(1);
    expect(err).toMatch(
      /^TensorFlow: expected 1\.6 GB of free address space, found \d\.\d GB under `ulimit -v`\. .*\n$/,
    );
  });

  test.each([
    ['generate', () => ['generate', '--model', modelFolder, '--prompt', 'x', '--max-new-tokens', '4']],
    ['weigh', () => ['weigh', '--model', modelFolder, '--pairs', pairsFile, '--out', join(temporaryFolder(), 'x')]],
    ['inspect', () => ['inspect', pairsFile, '--model', modelFolder]],
    ['train', () => ['train', goldenConfig(temporaryFolder()), '--set', 'max_steps=1']],
  ])('address space of 4 GB is enough for %s with a small model', (_, args) => {
    const { status, out, err } = limited('--as=4000000000', ...args());
    expect(status, err).toBe(0);
    expect(out).not.toBe('');
  });

  // their WebAssembly reserves 10 GB of address space
  test.each([
    ['zstd', () => ['inspect', rowsOf('fast.zst'), '--model', modelFolder]],
    ['the Hub', () => ['generate', '--model', 'not/there', '--prompt', 'x']],
    [
      'servers',
      () => [
        'sample',
        '--endpoint',
        'http://127.0.0.1:9',
        '--model',
        'x',
        '--prompts',
        pairsFile,
        '--out',
        join(temporaryFolder(), 'x'),
      ],
    ],
  ])('address space of 4 GB is too little for %s', (_, args) => {
    const { status, err } = limited('--as=4000000000', ...args());
    expect(status, err).toBe(1);
    expect(err).toMatch(/^memory: expected more than this process can have, found .*out of memory.*\n$/i);
  });
});

describe('a disk that is too small', () => {
  const disk = join(temporaryFolder(), 'disk');
  mkdirSync(disk);
  const isMounted = works('mount', '-t', 'tmpfs', '-o', 'size=6m', 'tmpfs', disk);
  afterAll(() => void (isMounted && execFileSync('umount', [disk])));

  test.skipIf(!isMounted)('is named before the first step, with what to change (needs the right to mount)', () => {
    const run = join(disk, 'run');
    const config = goldenConfig(temporaryFolder());
    const args = ['train', config, '--set', `output_dir=${run}`, '--set', 'save_steps=1'];
    const { status, stderr } = spawnSync(process.execPath, [bin, ...args], { encoding: 'utf8' });
    expect(status, stderr).toBe(1);
    expect(stderr).toMatch(
      /run: cannot be written: expected [\d.]+ MB of free disk space, found [\d.]+ MB\. The run writes up to/,
    );
    expect(stderr).toContain(
      'Free some space, lower save_total_limit, set save_steps: 0, or set output_dir to another disk.',
    );
    expect(existsSync(join(run, 'metrics.jsonl'))).toBe(false);
  });

  test.skipIf(!isMounted)('is named before random weights are written to it (needs the right to mount)', () => {
    const args = ['init', '--preset', '159m', '--out', join(disk, 'models', 'random')];
    const { status, stderr } = spawnSync(process.execPath, [bin, ...args], { encoding: 'utf8' });
    expect(status).toBe(1);
    expect(stderr).toMatch(
      /random: cannot be written: expected 317\.\d MB of free disk space, found .* choose a smaller --preset\.\n$/,
    );
    expect(existsSync(join(disk, 'models'))).toBe(false);
  });
});
