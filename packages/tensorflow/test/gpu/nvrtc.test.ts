import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findCompiler, NATIVE } from '../../install/addon.mjs';
import { run } from '../../install/command.mjs';
import { ensureWheelFiles } from '../wheel-files';

// NVIDIA's compiler needs no GPU: it compiles kernels.cu for every GPU that is supported.

/** Turing, Ampere (server and desktop), Ada, Hopper, Blackwell (server and desktop). */
const CAPABILITIES = [75, 80, 86, 89, 90, 100, 120];

const nvrtc = await ensureWheelFiles(
  'nvidia-cuda-nvrtc-cu12',
  '12.9.86',
  (member) => /\/lib\/(libnvrtc(-builtins)?\.so\.[\d.]+)$/.exec(member)?.[1],
);
if ('missing' in nvrtc) console.warn(`NVRTC is not tested: ${nvrtc.missing}`);

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'wpo-nvrtc-'));
  const sources = [join(import.meta.dirname, '../native/compile-kernels.cc'), join(NATIVE, 'gpu/nvrtc.cc')];
  const flags = ['-std=c++17', '-Wall', '-Wextra', '-Werror', '-I', NATIVE, `-Wa,-I${join(NATIVE, 'gpu')}`, '-ldl'];
  const { ok, output } = run(findCompiler()!, [...sources, ...flags, '-o', join(folder, 'compile-kernels')]);
  expect(ok, output).toBe(true);
});
afterAll(() => rmSync(folder, { recursive: true }));

test.skipIf('missing' in nvrtc).each(CAPABILITIES)('NVRTC compiles kernels.cu for sm_%i', (capability) => {
  const env = { ...process.env, LD_LIBRARY_PATH: (nvrtc as { folder: string }).folder };
  const { ok, output } = run(join(folder, 'compile-kernels'), [String(capability)], { env });
  expect(ok, output).toBe(true);
  expect(output).toMatch(new RegExp(`^${capability} \\d{5,}$`)); // the cubin's size
});
