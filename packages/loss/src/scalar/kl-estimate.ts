import { column } from '../column';
import { sum } from './numbers';

/**
 * z₀ of KTO (arXiv 2402.01306, section 4): max(0, mean(log π(y′) − log π_ref(y′))), y′ answers to other prompts put under
 * these.
 */
export function klEstimate(logps: ArrayLike<number>, refLogps: ArrayLike<number>): number {
  const policy = column('klEstimate', 'logps', logps);
  const reference = column('klEstimate', 'refLogps', refLogps, false, policy.length);
  return Math.max(0, (sum(policy) - sum(reference)) / policy.length);
}
