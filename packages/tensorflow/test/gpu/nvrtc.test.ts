import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findCompiler, NATIVE } from '../../install/addon.mjs';
import { run } from '../../install/command.mjs';
import { ensureWheelFiles } from '../wheel-files';

// NVIDIA's compiler needs no GPU: it compiles the kernels for every GPU that is supported.

/**
 * Turing, Ampere (server and desktop), Ada, Hopper, Blackwell (server and desktop): kilobytes of shared memory that a block may have
 * (CUDA programming guide, "Technical Specifications per Compute Capability"), and the keys of a tile of the keys' gradient for heads
 * of 128 and 256. Turing has no products of bfloat16.
 */
const CAPABILITIES: [capability: number, sharedKb: number, gradientKeys: Record<string, number>][] = [
  [75, 64, {}],
  [80, 163, { 128: 64, 256: 64 }],
  [86, 99, { 128: 64, 256: 32 }],
  [89, 99, { 128: 64, 256: 32 }],
  [90, 227, { 128: 64, 256: 64 }],
  [100, 227, { 128: 64, 256: 64 }],
  [120, 99, { 128: 64, 256: 32 }],
];

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

test.skipIf('missing' in nvrtc).each(CAPABILITIES)(
  'NVRTC compiles the kernels for sm_%i, with at most %i KB of shared memory',
  (capability, sharedKb, gradientKeys) => {
    const env = { ...process.env, LD_LIBRARY_PATH: (nvrtc as { folder: string }).folder };
    const { ok, output } = run(join(folder, 'compile-kernels'), [String(capability), String(sharedKb)], { env });
    expect(ok, output).toBe(true);
    const [kernels, ...fused] = output
      .trim()
      .split('\n')
      .map((line) => line.split(' '));
    expect(kernels).toEqual(['kernels', expect.stringMatching(/^\d{5,}$/)]); // the cubin's size
    expect(Object.fromEntries(fused.map(([, headSize, keys]) => [headSize, Number(keys)]))).toEqual(gradientKeys);
    for (const [, , , bytes, size] of fused) {
      expect(Number(bytes)).toBeLessThanOrEqual(sharedKb * 1024);
      expect(size).toMatch(/^\d{5,}$/);
    }
  },
);
