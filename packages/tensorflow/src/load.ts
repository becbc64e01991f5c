import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { repairNode } from '../install/repair-node.mjs';

type TfjsNode = typeof import('@tensorflow/tfjs-node-gpu');

/**
 * What TensorFlow and CUDA are told by environment variables, unless the user tells them otherwise: errors alone are logged;
 * a GPU's memory is taken as it is needed, where TensorFlow would take it all at once; and float32 is multiplied as float32,
 * where TensorFlow would round it to TF32's 10 bits.
 */
const SETTINGS = { TF_CPP_MIN_LOG_LEVEL: '2', TF_FORCE_GPU_ALLOW_GROWTH: 'true', NVIDIA_TF32_OVERRIDE: '0' };

/**
 * Loads tfjs-node-gpu, which registers every kernel and gradient, and makes `tensorflow` the backend of tfjs.
 *
 * @param require resolves tfjs-node-gpu; not an import, for those run before anything here could repair or explain
 * @returns tfjs-node-gpu's exports
 * @throws Error naming `npx wpo-tensorflow install` where the native part is missing or broken
 */
export function loadTensorflow(require = createRequire(import.meta.url)): TfjsNode {
  repairNode();
  for (const [name, value] of Object.entries(SETTINGS)) process.env[name] ??= value;
  try {
    quietTensorflow(require);
    return require('@tensorflow/tfjs-node-gpu') as TfjsNode;
  } catch (error) {
    throw new Error(
      `${explain(error)} Run \`npx wpo-tensorflow install\`; \`npx wpo-tensorflow doctor\` says what is wrong.`,
      { cause: error },
    );
  }
}

/** Must come before TensorFlow's library is loaded, which logs as it is. */
function quietTensorflow(require: NodeJS.Require): void {
  const folder = dirname(require.resolve('@tensorflow/tfjs-node-gpu/package.json'));
  const quiet = join(folder, 'lib', 'napi-v8', 'quiet.node');
  // tfjs-node's own installer leaves none
  if (existsSync(quiet)) require(quiet);
}

function explain(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  if (/Cannot find module '@tensorflow\/tfjs-node-gpu/.test(message))
    return '@tensorflow/tfjs-node-gpu is not installed.';
  if (/native addon module/.test(message)) return 'TensorFlow is not installed under @tensorflow/tfjs-node-gpu.';
  return `TensorFlow could not be loaded: ${message.split('\n')[0]!.trim()}.`;
}
