import { createRequire } from 'node:module';
import { repairNode } from './repair-node';

type TfjsNode = typeof import('@tensorflow/tfjs-node-gpu');

const INSTALL = 'npx wpo-tensorflow install';

/**
 * Loads tfjs-node-gpu, which registers every kernel and gradient, and makes `tensorflow` the backend of tfjs. TensorFlow's
 * log is kept to errors, unless TF_CPP_MIN_LOG_LEVEL is set.
 *
 * @returns tfjs-node-gpu's exports
 * @throws Error naming `npx wpo-tensorflow install` where the native part is missing or broken
 */
export function loadTensorflow(): TfjsNode {
  process.env.TF_CPP_MIN_LOG_LEVEL ??= '2';
  repairNode();
  // not an import: those run before anything here could repair or explain
  const require = createRequire(import.meta.url);
  try {
    return require('@tensorflow/tfjs-node-gpu') as TfjsNode;
  } catch (error) {
    throw new Error(`${explain(error)} Run \`${INSTALL}\`; \`npx wpo-tensorflow doctor\` says more.`, { cause: error });
  }
}

function explain(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  const first = message.split('\n')[0]!.trim();
  if (/Cannot find module '@tensorflow\/tfjs-node-gpu'/.test(message))
    return '@tensorflow/tfjs-node-gpu is not installed.';
  if (/native addon module|tfjs_binding\.node/.test(message)) return 'TensorFlow is not installed under tfjs-node-gpu.';
  return `TensorFlow could not be loaded: ${first}.`;
}
