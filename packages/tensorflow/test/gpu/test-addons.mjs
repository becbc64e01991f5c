// @ts-check
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { NATIVE } from '../../install/addon.mjs';

/** @import { Addon } from '../../install/addon.mjs' */

const testFile = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url));
const EMULATED = testFile('emulated.cc');
const FAULTS = testFile('../native/faults.cc');
/** The sources that are not those of an installed addon. */
export const TEST_SOURCES = [EMULATED, FAULTS];

/** Sources that need a GPU or its libraries. */
const HARDWARE = /\/(cuda|nvrtc|stream)\.cc$/;

/**
 * The addons that only tests use, also `npm run test:sanitize`: the GPU operations on a GPU emulated on the CPU, and operations that
 * fail.
 * @param {Record<'kernels' | 'gpu', Addon>} installed
 * @returns {Record<'emulated' | 'faults', Addon>}
 */
export const testAddons = ({ kernels, gpu }) => ({
  emulated: {
    ...gpu,
    name: 'emulated.node',
    sources: [...gpu.sources.filter((path) => !HARDWARE.test(path)), EMULATED],
  },
  faults: {
    ...kernels,
    name: 'faults.node',
    sources: [
      ...['operation.cc', 'parallel.cc', 'step-memory.cc'].map((name) => join(NATIVE, 'runtime', name)),
      FAULTS,
    ],
  },
});
