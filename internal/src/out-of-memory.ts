/** Whether memory could not be allocated, in JavaScript or WebAssembly. */
export const isOutOfMemory = (error: unknown): boolean =>
  error instanceof RangeError && /out of memory|allocation failed|cannot allocate/i.test(error.message);
