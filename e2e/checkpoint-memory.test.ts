import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, expect, test } from 'vitest';
import { built, LONG } from './support';

beforeAll(built, LONG); // checkpoint-memory.mjs runs the built packages

test.runIf(process.platform === 'linux')(
  'saving and loading weights and the optimizer’s state copies no tensor as a whole',
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'wpo-checkpoint-memory-'));
    try {
      const script = fileURLToPath(new URL('checkpoint-memory.mjs', import.meta.url));
      const args = ['--expose-gc', script, join(folder, 'model.safetensors')];
      const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
      expect(status, stderr).toBe(0);
      const { largest, ...growth } = JSON.parse(stdout) as Record<string, number>;
      expect(largest).toBe(4 * 200_000 * 256);
      expect(Object.keys(growth)).toEqual(['saving', 'loading', 'savingState', 'loadingState']);
      for (const bytes of Object.values(growth)) expect(bytes, stdout).toBeLessThan(largest! / 2);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);
