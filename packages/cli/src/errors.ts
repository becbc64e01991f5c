/** An error that the user can fix. Only its message is printed, without a stack. */
export class UserError extends Error {
  override readonly name = 'UserError';
}

/** Errors of the libraries about their input. By name, so that `wpo --help` loads no library. */
const inputErrors = ['UserError', 'RowError', 'ChatTemplateError', 'TrainingError', 'EvaluationError', 'EndpointError'];

/** Whether an error is about the command's input, and not a fault of the program. */
export const isUserError = (error: Error): boolean => inputErrors.includes(error.name);

/**
 * Runs work whose errors are about its input, such as reading a file; only a TypeError or ReferenceError is a fault of the
 * program.
 *
 * @throws {UserError} with the error's message
 */
export async function fromInput<T>(run: () => T | Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof Error) || isUserError(error)) throw error;
    if (error instanceof TypeError || error instanceof ReferenceError) throw error;
    throw new UserError(error.message, { cause: error });
  }
}
