// @ts-check
import util from 'node:util';

/**
 * Puts back what tfjs-node 4.22.0 calls and Node has taken away: `util.isNullOrUndefined` is gone since Node 23, and
 * `util.isArray` warns. Without them every read of a tensor fails. To be called before tfjs-node is loaded.
 */
export function repairNode() {
  Object.assign(util, {
    isNullOrUndefined: (/** @type {unknown} */ value) => value === null || value === undefined,
    isArray: Array.isArray,
  });
}
