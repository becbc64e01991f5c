// What a family of hostile inputs is: how inputs are made, and the property that must hold for each of them.
import type fc from 'fast-check';

export { mutatedBytes, mutatedJson, mutatedText } from './mutate';

/** Inputs of one kind, and a property that holds for every one of them. */
export interface Family<T> {
  /** Also the name of the file in `families/`. */
  readonly name: string;
  readonly input: fc.Arbitrary<T>;
  /** Throws if the property does not hold for the input. */
  check(input: T, context: Context): Promise<void> | void;
  /** Limit of one case in seconds of CPU time. @default 10 */
  readonly secondsPerCase?: number;
  /** Limit of the child process's resident memory in MB. @default 1024 */
  readonly memoryMb?: number;
}

export interface Context {
  /** An empty folder of this run. It is removed after the last case. */
  readonly folder: string;
  /** Counts an outcome of a case, such as `refused` or `read`, for the report. */
  count(outcome: string): void;
}

/** The longest error message in characters. */
const LONGEST_MESSAGE = 4000;
/** Messages of the engine. A user can do nothing with them. */
const ENGINE_MESSAGE =
  /Cannot (read|set|convert|destructure|mix|access)|is not (a function|iterable|a constructor|defined)|Maximum call stack|Invalid (array|string|typed array) length|Array buffer allocation|Reached heap limit|offset is outside|out of bounds|\[object |Unexpected token|The "\w+" argument must/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are looked for here
const CONTROL_CHARACTER = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/;

/** Throws unless `error` is an error for a user: written by this project, of bounded length, without control characters. */
export function expectPlainError(error: unknown): asserts error is Error {
  if (!(error instanceof Error)) throw new Error(`expected an Error, found ${typeof error}: ${String(error)}`);
  const problem =
    error.message.trim() === ''
      ? 'is empty'
      : error.message.length > LONGEST_MESSAGE
        ? `has ${error.message.length} characters`
        : ENGINE_MESSAGE.test(error.message)
          ? "is the engine's"
          : CONTROL_CHARACTER.test(error.message)
            ? 'has control characters'
            : undefined;
  if (problem) throw new Error(`the error's message ${problem}: ${error.message.slice(0, 400)}`, { cause: error });
}
