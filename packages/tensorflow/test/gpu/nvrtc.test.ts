import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findCompiler, NATIVE } from '../../install/addon.mjs';
import { run } from '../../install/command.mjs';
import { defaultCache, makePartial, moveInPlace } from '../../install/runtime.mjs';
import { downloadWheel, findPip } from '../../install/wheels.mjs';
import { unzip } from '../../install/zip.mjs';

// NVIDIA's compiler needs no GPU: it compiles kernels.cu for every GPU that is supported.

const VERSION = '12.9.86';

/** Turing, Ampere (server and desktop), Ada, Hopper, Blackwell (server and desktop). */
const CAPABILITIES = [75, 80, 86, 89, 90, 100, 120];

/** The folder with libnvrtc.so.12, downloaded once, or why it is missing. */
async function ensureNvrtc(): Promise<{ folder: string } | { missing: string }> {
  const cache = defaultCache();
  const target = join(cache, `nvrtc-${VERSION}`);
  if (existsSync(target)) return { folder: target };
  const pip = findPip();
  if (!pip) return { missing: 'there is no pip' };
  mkdirSync(cache, { recursive: true });
  const partial = makePartial(cache, target);
  try {
    const wheel = downloadWheel(pip, `nvidia-cuda-nvrtc-cu12==${VERSION}`, partial);
    await unzip(wheel, (member) => /\/lib\/(libnvrtc(-builtins)?\.so\.[\d.]+)$/.exec(member)?.[1], partial);
    rmSync(wheel);
    moveInPlace(partial, target);
    return { folder: target };
  } catch (error) {
    return { missing: (error as Error).message };
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
}

const nvrtc = await ensureNvrtc();
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
