// @ts-check
/** An error with ways to fix it. It is printed without a stack trace. */
export class InstallError extends Error {
  /**
   * @param {string} message what went wrong: what was expected and found
   * @param {string[]} hints ways to fix it, one per line
   * @param {unknown} [cause]
   */
  constructor(message, hints = [], cause = undefined) {
    super(message, { cause });
    this.name = 'InstallError';
    this.hints = hints;
  }
}

/**
 * An error as lines for a terminal.
 * @param {unknown} error
 * @returns {string}
 */
export function describeError(error) {
  if (!(error instanceof InstallError)) return error instanceof Error ? (error.stack ?? error.message) : String(error);
  return [error.message, ...error.hints.map((hint) => `  - ${hint}`)].join('\n');
}
