import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { filesIn } from '../install/addon.mjs';
import { run } from '../install/command.mjs';

const formatter = process.env.CLANG_FORMAT ?? 'clang-format';
const installed = run(formatter, ['--version']).ok;
if (!installed) console.warn('The format of C++ sources is not tested: clang-format is not installed.');

const folders = ['native', 'install', 'test'].map((name) => fileURLToPath(new URL(`../${name}`, import.meta.url)));

test.skipIf(!installed)('C++ and CUDA sources are formatted by clang-format', () => {
  const files = folders.flatMap((folder) => filesIn(folder, /\.(cc|h|cu)$/));
  const { ok, output } = run(formatter, ['--dry-run', '-Werror', ...files]);
  expect(ok, `Run clang-format -i on these files.\n${output}`).toBe(true);
});
