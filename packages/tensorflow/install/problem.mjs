// @ts-check
/** What stops an installation, and what would mend it: printed without a stack trace. */
export class Problem extends Error {
  /**
   * @param {string} message what was wrong, and what was found
   * @param {string[]} mends what to do about it, one way a line
   * @param {unknown} [cause]
   */
  constructor(message, mends = [], cause = undefined) {
    super(message, { cause });
    this.name = 'Problem';
    this.mends = mends;
  }
}

/**
 * The error as lines for a terminal.
 * @param {unknown} error
 * @returns {string}
 */
export function describe(error) {
  if (!(error instanceof Problem)) return error instanceof Error ? (error.stack ?? error.message) : String(error);
  return [error.message, ...error.mends.map((mend) => `  - ${mend}`)].join('\n');
}
