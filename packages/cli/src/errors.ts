/** An error that the user can fix. Only its message is printed, without a stack. */
export class UserError extends Error {
  override readonly name = 'UserError';
}

/** Names of the libraries' errors about their input. Names and not classes, so that `wpo --help` loads no library. */
const inputErrors = ['UserError', 'RowError', 'ChatTemplateError', 'TrainingError', 'EvaluationError', 'EndpointError'];

/** Whether an error is about the command's input, and not a fault of the program. */
export const isUserError = (error: Error): boolean => inputErrors.includes(error.name);

/**
 * Runs work that fails because of its input, such as reading a file. A TypeError or ReferenceError is a fault of the program
 * and is thrown as it is.
 *
 * @throws {UserError} with the message of any other error
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
