// @ts-check
import { relative } from 'node:path';
import { BaseSequencer } from 'vitest/node';

/** Starts the files that take longest first, so that none of them runs alone at the end: they are outside of packages/. */
export class LongestFirst extends BaseSequencer {
  /**
   * @override
   * @param {import("vitest/node").TestSpecification[]} files
   */
  async sort(files) {
    const isPackage = (/** @type {import('vitest/node').TestSpecification} */ { moduleId, project }) =>
      Number(relative(project.config.root, moduleId).startsWith('packages/'));
    return (await super.sort(files)).sort((a, b) => isPackage(a) - isPackage(b));
  }
}
