import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { filesIn } from '../install/addon.mjs';
import { run } from '../install/command.mjs';
import { ensureWheelFiles } from './wheel-files';

// One version for everyone, because versions of clang-format differ in details.
const wheel = await ensureWheelFiles('clang-format', '19.1.7', (member) => /\/bin\/(clang-format)$/.exec(member)?.[1]);
if ('missing' in wheel) console.warn(`The format of C++ sources is not tested: ${wheel.missing}`);

const folders = ['native', 'install', 'test'].map((name) => fileURLToPath(new URL(`../${name}`, import.meta.url)));

test.skipIf('missing' in wheel)('C++ and CUDA sources are formatted by clang-format', () => {
  const formatter = join((wheel as { folder: string }).folder, 'clang-format');
  chmodSync(formatter, 0o755);
  const files = folders.flatMap((folder) => filesIn(folder, /\.(cc|h|cu)$/));
  const { ok, output } = run(formatter, ['--dry-run', '-Werror', ...files]);
  expect(ok, `Run ${formatter} -i on these files.\n${output}`).toBe(true);
});
