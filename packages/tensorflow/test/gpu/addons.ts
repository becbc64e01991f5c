import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import * as tf from '@tensorflow/tfjs-core';
import { tryLock } from '@wpo/internal/node/lock';
import { type Addon, addons, build, findCompiler, fingerprint } from '../../install/addon.mjs';
import { makePartial, moveInPlace } from '../../install/runtime.mjs';
import { type StoredArrays, type StoredName, useNative } from '../../src/kernels/native';
import { uploadWithoutSync } from '../../src/kernels/upload';
import { TEST_SOURCES, testAddons } from './test-addons.mjs';

const require = createRequire(import.meta.url);
const tfjs = dirname(require.resolve('@tensorflow/tfjs-node-gpu/package.json'));
const installed = addons(join(tfjs, 'binding'));

/** TensorFlow's libraries and headers. */
export const runtime = dirname(realpathSync(join(tfjs, 'deps')));

/** The GPU operations on a GPU emulated on the CPU, and operations that fail. */
export const { emulated: emulatedAddon, faults: faultsAddon } = testAddons(installed);

/** The CPU operations. */
export const kernelsAddon: Addon = installed.kernels;

/** The folder of addons that tests have built. */
const cache = fileURLToPath(new URL('../../../../node_modules/.cache/wpo/test-addons', import.meta.url));

/** A folder with addons that are already built, by `npm run test:sanitize`. */
const prebuilt = process.env.WPO_TEST_ADDONS;

/** The addon's store, as native/runtime/store-functions.h describes it. */
export interface NativeStore {
  allocate(bytes: number): number;
  allocateForStep(bytes: number): number;
  map(path: string, bytes?: number): number;
  address(id: number): bigint;
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

/** Loads an addon that only tests use, or the GPU addon as it is installed. */
export async function loadAddon({ name }: Addon): Promise<{
  readonly operations: string[];
  readonly missing: string;
  readonly store: NativeStore;
  readonly fusedHeadSizes: number[];
}> {
  const folder = prebuilt && existsSync(join(prebuilt, name)) ? prebuilt : await ensureTestAddons();
  return require(join(folder, name));
}

/** Builds the addons, unless a test has built them from the same sources. */
async function ensureTestAddons(): Promise<string> {
  const hash = createHash('sha256')
    .update(fingerprint(join(tfjs, 'binding')))
    .update(JSON.stringify([emulatedAddon, faultsAddon]));
  for (const path of TEST_SOURCES) hash.update(readFileSync(path));
  const target = join(cache, hash.digest('hex').slice(0, 12));
  mkdirSync(cache, { recursive: true });
  let release: (() => void) | undefined;
  while (!release) {
    release = await tryLock(cache, 'test-addons');
    if (!release) await sleep(200);
  }
  try {
    if (existsSync(target)) return target;
    for (const old of readdirSync(cache)) rmSync(join(cache, old), { recursive: true });
    const partial = makePartial(cache, target);
    await build(findCompiler()!, [installed.gpu, emulatedAddon, faultsAddon], runtime, partial);
    moveInPlace(partial, target);
    return target;
  } finally {
    release();
  }
}

/** The GPU addon as it is installed. */
export const loadGpuAddon = () => loadAddon(installed.gpu);

/** Makes this process run the GPU operations on a GPU emulated on the CPU (emulated.cc). */
export async function useEmulatedGpu(): Promise<void> {
  loadKernels(); // defines the operations
  const { operations, store, fusedHeadSizes } = await loadAddon(emulatedAddon);
  uploadWithoutSync(tf.backend() as unknown as { binding: object });
  useNative({ device: 'gpu', operations, store, fusedHeadSizes });
}
