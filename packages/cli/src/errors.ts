import { isOutOfMemory } from '@wpo/internal/out-of-memory';

/** An error that the user can fix. Only its message is printed, without a stack. */
export class UserError extends Error {
  override readonly name = 'UserError';
}

/** A signal ended the command before it had anything to save. */
export class InterruptedError extends Error {
  override readonly name = 'InterruptedError';

  /** @param status the command's exit status, 130 or 143 */
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

/** Names of the libraries' errors about their input. Names and not classes, so that `wpo --help` loads no library. */
const inputErrors = [
  'UserError',
  'RowError',
  'ChatTemplateError',
  'ModelError',
  'TrainingError',
  'EvaluationError',
  'EndpointError',
  'WriteError',
  'InterruptedError',
];

/** Whether an error is about the command's input, and not a fault of the program. */
export const isUserError = (error: Error): boolean => inputErrors.includes(error.name);

/** Whether an error comes from the operating system: a full disk, a missing permission, a file that is gone. */
export const isSystemError = (error: Error): boolean =>
  typeof (error as NodeJS.ErrnoException).syscall === 'string' &&
  typeof (error as NodeJS.ErrnoException).code === 'string';

/** Errors that a fault of the program has, whatever the input: wrong types, and recursion without an end. */
const isFault = (error: Error): boolean =>
  error instanceof TypeError ||
  error instanceof ReferenceError ||
  (error instanceof RangeError && error.message.includes('call stack'));

export const describeOutOfMemory = ({ message }: Error): string =>
  `memory: expected more than this process can have, found ${message.replace(/\.?$/, '.')} Raise the limit of \`ulimit -v\` or of the ` +
  'container, close other programs, or use a machine with more memory.';

/**
 * Runs work that fails because of its input, such as reading a file. A fault of the program is thrown as it is.
 *
 * @throws {UserError} with the message of any other error
 */
export async function fromInput<T>(run: () => T | Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (
      !(error instanceof Error) ||
      isUserError(error) ||
      isSystemError(error) ||
      isOutOfMemory(error) ||
      isFault(error)
    )
      throw error;
    throw new UserError(error.message, { cause: error });
  }
}

const SYSTEM_ERRORS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied. Check who owns the file, or use another path.',
  EPERM: 'the system does not permit this. Check who owns the file, or use another path.',
  EROFS: 'the file system is read-only. Use another path.',
  ENOSPC: 'the disk is full. Free disk space, or use another path.',
  EDQUOT: 'your disk quota is used up. Free disk space, or use another path.',
  EFBIG: 'the file is larger than this system permits. Check `ulimit -f`.',
  EMFILE: 'this process has too many open files. Raise the limit: `ulimit -n 4096`.',
  ENFILE: 'the system has too many open files. End other programs.',
  ENOENT: 'there is no such file or folder. Check the path.',
  ENOTDIR: 'a part of the path is a file and not a folder. Check the path.',
  EISDIR: 'this is a folder and not a file. Check the path.',
  ELOOP: 'the path has a loop of symbolic links. Check the path.',
  ENAMETOOLONG: 'the path is too long. Use a shorter one.',
  EIO: 'the disk or terminal reports an error. Check the device.',
  ENOMEM: 'the system has no memory left. End other programs, or raise the memory limit.',
  EAGAIN: 'the system has no resources left for this. End other programs, or raise the limits of `ulimit -a`.',
};

/** An error of the operating system as one line: path, cause, and what to do. */
export function describeSystemError(error: Error): string {
  const { code = '', path, dest, syscall, message } = error as NodeJS.ErrnoException & { readonly dest?: string };
  const where = dest ?? path ?? syscall ?? '';
  return `${where}: ${SYSTEM_ERRORS[code] ?? `${message.replace(/\.?$/, '.')} Check the path and the system.`} (${code})`;
}
