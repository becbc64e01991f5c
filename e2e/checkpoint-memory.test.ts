import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, expect, test } from 'vitest';
import { built, LONG } from './support';

beforeAll(built, LONG); // checkpoint-memory.mjs runs the built packages

test.runIf(process.platform === 'linux')('saving and loading trained weights copies no weight as a whole', () => {
  const folder = mkdtempSync(join(tmpdir(), 'wpo-checkpoint-memory-'));
  try {
    const script = fileURLToPath(new URL('checkpoint-memory.mjs', import.meta.url));
    const args = ['--expose-gc', script, join(folder, 'model.safetensors')];
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
    expect(status, stderr).toBe(0);
    const { largest, saving, loading } = JSON.parse(stdout) as Record<'largest' | 'saving' | 'loading', number>;
    expect(largest).toBe(4 * 200_000 * 256);
    expect(saving, stdout).toBeLessThan(largest / 2);
    expect(loading, stdout).toBeLessThan(largest / 2);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
