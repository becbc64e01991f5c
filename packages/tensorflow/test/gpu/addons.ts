import { existsSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { type Addon, addons, build, findCompiler } from '../../install/addon.mjs';
import { type StoredArrays, type StoredName, useNative } from '../../src/kernels/native';
import { uploadWithoutSync } from '../../src/kernels/upload';
import { testAddons } from './test-addons.mjs';

const require = createRequire(import.meta.url);
const tfjs = dirname(require.resolve('@tensorflow/tfjs-node-gpu/package.json'));
const installed = addons(join(tfjs, 'binding'));

/** TensorFlow's libraries and headers. */
export const runtime = dirname(realpathSync(join(tfjs, 'deps')));

/** The GPU operations on a GPU emulated on the CPU, and operations that fail. */
export const { emulated: emulatedAddon, faults: faultsAddon } = testAddons(installed);

/** The CPU operations. */
export const kernelsAddon: Addon = installed.kernels;

/** A folder with addons that are already built, by `npm run test:sanitize`. */
const prebuilt = process.env.WPO_TEST_ADDONS;

/** The addon's store, as native/runtime/store-functions.h describes it. */
export interface NativeStore {
  allocate(bytes: number): number;
  allocateForStep(bytes: number): number;
  map(path: string, bytes?: number): number;
  free(id: number): void;
  bytes(): { allocated: number; mapped: number };
  // biome-ignore format: one line for each function
  read(id: number, offset: number, file: number | string, fileOffset: number, count: number, fileType: StoredName | 'F16', type: StoredName): void;
  // biome-ignore format: one line for each function
  write(id: number, offset: number, file: number | string, fileOffset: number, count: number, type: StoredName, fileType: StoredName): void;
  get<T extends StoredName>(id: number, offset: number, count: number, type: T): StoredArrays[T];
  set(id: number, offset: number, values: Float32Array | Int16Array | Uint8Array, type: StoredName): void;
}

/** The addon with the CPU operations: the prebuilt one if there is one, otherwise the installed one. */
export const kernelsPath = prebuilt ? join(prebuilt, kernelsAddon.name) : join(tfjs, 'lib/napi-v8', kernelsAddon.name);

export const loadKernels = (): { readonly operations: string[]; readonly store: NativeStore } => require(kernelsPath);

/** Builds an addon, unless it is prebuilt, and loads it. */
export function loadAddon(addon: Addon): {
  readonly operations: string[];
  readonly missing: string;
  readonly store: NativeStore;
  readonly fusedHeadSizes: number[];
} {
  if (prebuilt && existsSync(join(prebuilt, addon.name))) return require(join(prebuilt, addon.name));
  const folder = mkdtempSync(join(tmpdir(), 'wpo-addon-'));
  try {
    build(findCompiler()!, addon, runtime, folder);
    return require(join(folder, addon.name));
  } finally {
    rmSync(folder, { recursive: true }); // a loaded library no longer needs its file
  }
}

/** The GPU addon as it is installed. */
export const loadGpuAddon = () => loadAddon(installed.gpu);

/** Makes this process run the GPU operations on a GPU emulated on the CPU (emulated.cc). */
export function useEmulatedGpu(): void {
  loadKernels(); // defines the operations
  const { operations, store, fusedHeadSizes } = loadAddon(emulatedAddon);
  uploadWithoutSync(tf.backend() as unknown as { binding: object });
  useNative({ device: 'gpu', operations, store, fusedHeadSizes });
}
