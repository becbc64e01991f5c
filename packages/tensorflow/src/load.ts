import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { repairNode } from '../install/repair-node.mjs';
import { processMemory } from './process-memory';

type TfjsNode = typeof import('@tensorflow/tfjs-node-gpu');

/**
 * Environment variables for TensorFlow and CUDA, unless the user sets them: log only errors; allocate GPU memory as needed instead
 * of all of it at the start; multiply float32 without rounding to TF32's 10 bits; on x64, use oneDNN. TensorFlow's allocator that
 * keeps freed memory comes with oneDNN, which is off by default on CPUs without AVX-512 VNNI or BF16, AVX-VNNI or AMX: there,
 * malloc would allocate TensorFlow's tensors, and its free pieces add to the peak of a training step without native operations.
 */
const SETTINGS = {
  TF_CPP_MIN_LOG_LEVEL: '2',
  TF_FORCE_GPU_ALLOW_GROWTH: 'true',
  NVIDIA_TF32_OVERRIDE: '0',
  ...(process.arch === 'x64' ? { TF_ENABLE_ONEDNN_OPTS: '1' } : {}),
};

/**
 * Loads tfjs-node-gpu, which registers all kernels and gradients and makes `tensorflow` the backend of tfjs.
 *
 * @param require loads tfjs-node-gpu; an import would run before this function can repair Node or explain an error
 * @returns tfjs-node-gpu's exports
 * @throws Error that names `npx wpo-tensorflow install` if the TensorFlow library is missing or broken, or `ulimit -v` if that is
 *   too low
 */
export function loadTensorflow(require = createRequire(import.meta.url)): TfjsNode {
  repairNode();
  requireAddressSpace();
  for (const [name, value] of Object.entries(SETTINGS)) process.env[name] ??= value;
  try {
    quietTensorflow(require);
    return require('@tensorflow/tfjs-node-gpu') as TfjsNode;
  } catch (error) {
    throw new Error(
      `${explain(error)} Run \`npx wpo-tensorflow install\`, or \`npx wpo-tensorflow doctor\` to find the cause.`,
      { cause: error },
    );
  }
}

/** Bytes that TensorFlow's library and JavaScript's heap take. With less, V8 ends the process without an error. */
const MIN_ADDRESS_SPACE = 1.6e9;

function requireAddressSpace(): void {
  const { bytes, limit } = processMemory();
  if (limit !== 'ulimit -v' || bytes >= MIN_ADDRESS_SPACE) return;
  const gigabytes = (n: number) => `${(n / 1e9).toFixed(1)} GB`;
  throw new Error(
    `TensorFlow: expected ${gigabytes(MIN_ADDRESS_SPACE)} of free address space, found ${gigabytes(bytes)} under \`ulimit -v\`. Raise ` +
      'that limit by as much, and by the memory of the model.',
  );
}

/** Must run before TensorFlow's library is loaded, because the library logs while it loads. */
function quietTensorflow(require: NodeJS.Require): void {
  const folder = dirname(require.resolve('@tensorflow/tfjs-node-gpu/package.json'));
  const quiet = join(folder, 'lib', 'napi-v8', 'quiet.node');
  // tfjs-node's own installer does not build it
  if (existsSync(quiet)) require(quiet);
}

function explain(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  if (/Cannot find module '@tensorflow\/tfjs-node-gpu/.test(message))
    return '@tensorflow/tfjs-node-gpu is not installed.';
  if (/native addon module/.test(message)) return 'TensorFlow is not installed under @tensorflow/tfjs-node-gpu.';
  return `TensorFlow could not be loaded: ${message.split('\n')[0]!.trim()}.`;
}
