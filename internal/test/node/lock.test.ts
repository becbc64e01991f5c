import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterAll, describe, expect, test } from 'vitest';
import { tryLock } from '../../src/node/lock';

const folder = mkdtempSync(join(tmpdir(), 'wpo-lock-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe.runIf(process.platform === 'linux')('a lock', () => {
  test('is held until it is released, also under another path to the same file', async () => {
    symlinkSync(folder, join(folder, 'link'));
    const release = await tryLock(folder, 'train');
    expect(release).toBeDefined();
    expect(await tryLock(join(folder, 'link'), 'train')).toBeUndefined();
    release!();
    const again = await tryLock(folder, 'train');
    expect(again).toBeDefined();
    again!();
  });

  test('does not exclude locks of other files or for other purposes', async () => {
    writeFileSync(join(folder, 'a'), '');
    const held = [tryLock(folder, 'train'), tryLock(folder, 'run'), tryLock(join(folder, 'a'), 'train')];
    for (const release of await Promise.all(held)) {
      expect(release).toBeDefined();
      release!();
    }
  });

  test('is released when its process ends, even by SIGKILL', async () => {
    const bundle = join(folder, 'lock.mjs');
    const source = fileURLToPath(new URL('../../src/node/lock.ts', import.meta.url));
    await build({ entryPoints: [source], bundle: true, platform: 'node', format: 'esm', outfile: bundle });
    const code = `import { tryLock } from ${JSON.stringify(bundle)};
      await tryLock(${JSON.stringify(folder)}, 'train');
      console.log('locked');
      setTimeout(() => {}, 60_000);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', code], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await new Promise((resolve) => child.stdout.once('data', resolve));
    expect(await tryLock(folder, 'train')).toBeUndefined();
    child.kill('SIGKILL');
    await new Promise((resolve) => child.once('close', resolve));
    const release = await tryLock(folder, 'train');
    expect(release).toBeDefined();
    release!();
  });
});
