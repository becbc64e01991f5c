/** Says why a file could not be read: what was found there, what was wanted, and the mend. */
export function fileError(path: string, error: unknown, wanted: string, mend: string): Error {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  const found =
    code === 'ENOENT' || code === 'ENOTDIR'
      ? 'no such file'
      : code === 'EISDIR'
        ? 'a folder'
        : code === 'EACCES' || code === 'EPERM'
          ? 'a file that may not be read'
          : error instanceof Error
            ? error.message
            : String(error);
  return new Error(`${path}: found ${found}, wanted ${wanted}. ${mend}`, { cause: error });
}
