// @ts-check
import util from 'node:util';

/**
 * Restores functions that tfjs-node 4.22.0 calls: Node 23 removed `util.isNullOrUndefined`, and `util.isArray` prints a
 * warning. Without them every read of a tensor fails. Call it before tfjs-node is loaded.
 */
export function repairNode() {
  Object.assign(util, {
    isNullOrUndefined: (/** @type {unknown} */ value) => value === null || value === undefined,
    isArray: Array.isArray,
  });
}
