import * as tf from '@tensorflow/tfjs-core';
import { checkFloats } from './checks';
import { detached } from './gradient';
import { relu } from './ops';

/**
 * z₀ of KTO (arXiv 2402.01306, section 4): max(0, mean(log π(y′) − log π_ref(y′))), y′ answers to other prompts put under
 * these. No gradient flows through it.
 *
 * @param logps `[N]`, float32. @param refLogps `[N]`. @returns `[1]`; the caller's to dispose.
 */
export function klEstimate(logps: tf.Tensor1D, refLogps: tf.Tensor1D): tf.Tensor1D {
  checkFloats('klEstimate', 'logps', logps, 'answers');
  checkFloats('klEstimate', 'refLogps', refLogps, logps.shape);
  return detached([logps, refLogps], () => relu(tf.mean<tf.Tensor1D>(tf.sub(logps, refLogps), 0, true)));
}
