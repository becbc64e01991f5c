/** Where a command writes: results to `stdout`, progress and warnings to `stderr`. `process` is one. */
export interface Terminal {
  readonly stdout: NodeJS.WritableStream;
  readonly stderr: NodeJS.WritableStream & { readonly isTTY?: boolean };
}
