/** The input of an evaluation cannot be used: a file, a server's address, or a reply. The message says how to fix it. */
export class EvaluationError extends Error {
  override readonly name: string = 'EvaluationError';
}
