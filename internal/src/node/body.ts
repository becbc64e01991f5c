import { Buffer } from 'node:buffer';

/** A reply's body is larger than the limit. The rest of it was not read. */
export class BodyTooLargeError extends Error {
  override readonly name = 'BodyTooLargeError';
}

/**
 * Reads the body of a reply, up to a limit, so that a faulty server cannot fill the memory.
 *
 * @param body `response.body` of fetch, which also decompresses; null is an empty body
 * @throws {BodyTooLargeError} once more than `maxBytes` have arrived; the connection is then closed
 */
export async function readBody(body: AsyncIterable<Uint8Array> | null, maxBytes: number): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of body ?? []) {
    size += part.length;
    if (size > maxBytes) throw new BodyTooLargeError(`a reply of more than ${maxBytes} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts);
}
