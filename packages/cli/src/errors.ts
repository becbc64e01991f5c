/** What the person at the terminal can mend: printed as its message alone, without a stack. */
export class UserError extends Error {
  override readonly name = 'UserError';
}

/** Errors of the libraries that are about what they were given; by name, so that `wpo --help` loads no library. */
const inputErrors = ['UserError', 'RowError', 'ChatTemplateError', 'TrainingError', 'EvaluationError', 'EndpointError'];

/** Whether an error is about what the command was given, and not about the command itself. */
export const isUserError = (error: Error): boolean => inputErrors.includes(error.name);

/**
 * Runs what fails by its input only, such as reading a file: its errors are the user's to mend, slips of the code apart.
 *
 * @throws {UserError} with the error's message, where `run` throws any but a TypeError or ReferenceError
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
