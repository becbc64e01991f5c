// @ts-check
import { InstallError } from './errors.mjs';

/** What runs without TensorFlow, in Node on every system. `e2e/packed.test.ts` runs it so. */
export const WITHOUT_TENSORFLOW = [
  '@wpo/loss, @wpo/data, @wpo/eval, and @wpo/gemma and @wpo/trainer on another backend of TensorFlow.js, such as `cpu`',
  '`wpo inspect` without --model, `wpo pair`, `wpo score`, `wpo sample --endpoint`, `wpo eval --annotations`, and `wpo eval --outputs`',
];

/**
 * The system that this process runs on.
 * @returns {{platform: string, arch: string, glibc: string | undefined}} `glibc` is undefined on Alpine and other systems with musl
 */
export function thisSystem() {
  const report = /** @type {{header: {glibcVersionRuntime?: string}}} */ (
    /** @type {unknown} */ (process.report.getReport())
  );
  return { platform: process.platform, arch: process.arch, glibc: report.header.glibcVersionRuntime };
}

/**
 * Checks that TensorFlow's library can run on a system, before anything is downloaded.
 * @param {ReturnType<typeof thisSystem>} [system]
 * @throws {InstallError} that names what is missing, where to get it, and what works on this system
 */
export function checkSystem({ platform, arch, glibc } = thisSystem()) {
  const found = findFault(platform, arch, glibc);
  if (found === undefined) return;
  throw new InstallError(
    `TensorFlow cannot be installed here: expected Linux with glibc 2.27 or later on x64 or arm64, found ${found.text}.`,
    [found.hint, ...WITHOUT_TENSORFLOW.map((what) => `works here without TensorFlow: ${what}`)],
  );
}

/**
 * @param {string} platform
 * @param {string} arch
 * @param {string | undefined} glibc
 * @returns {{text: string, hint: string} | undefined}
 */
function findFault(platform, arch, glibc) {
  if (platform === 'darwin')
    return {
      text: `macOS (${arch})`,
      hint: 'train in a Linux container: `docker run -it -v "$PWD":/work -w /work node:22 bash`',
    };
  if (platform === 'win32') return { text: `Windows (${arch})`, hint: 'use WSL 2 with Ubuntu: `wsl --install`' };
  if (platform !== 'linux' || !['x64', 'arm64'].includes(arch))
    return { text: `${platform} on ${arch}`, hint: 'use such a machine' };
  if (glibc === undefined)
    return {
      text: 'musl, the C library of Alpine Linux',
      hint: 'use an image of Debian, such as node:22-bookworm in place of node:22-alpine',
    };
  const [major = 0, minor = 0] = glibc.split('.').map(Number);
  return major > 2 || minor >= 27
    ? undefined
    : { text: `glibc ${glibc}`, hint: 'use a newer system: Debian 10, Ubuntu 18.04, RHEL 8 or later' };
}
