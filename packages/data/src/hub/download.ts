import { createHash } from 'node:crypto';
import { open, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeFolder, syncFolder } from '@wpo/internal/node/files';
import { hashFile } from '@wpo/internal/node/hash';
import { durationText, waitBeforeRetry } from '@wpo/internal/node/retry';
import { explainWrites, WriteError } from '@wpo/internal/node/write-errors';
import { lock } from 'proper-lockfile';
import type { Hub } from './repository';
import { ATTEMPTS, HubError, hubError, onAbort, reasonOf, request, TIMEOUT } from './request';
import { blobId, type HubFile } from './tree';

/**
 * Downloads a file's content into the cache as `blobs/<checksum>`. An interrupted download is resumed. The file is renamed
 * to `<checksum>` only after its checksum was verified. Processes that download the same blob wait for one another.
 *
 * @param onBytes called with the number of bytes of the file that have been downloaded so far
 * @returns the blob's path
 * @throws {HubError} if the hub does not send the file, or its bytes do not match the checksum
 */
export async function fetchBlob(
  hub: Hub,
  url: string,
  file: HubFile,
  onBytes: (bytes: number) => void,
): Promise<string> {
  const blob = blobPath(hub, file);
  if ((await fileSize(blob)) === file.size) return blob;
  await makeFolder(dirname(blob));
  const release = await lockBlob(blob, hub);
  try {
    if ((await fileSize(blob)) === file.size) return blob; // another process downloaded it meanwhile
    const partial = partialPath(hub, file);
    for (let attempt = 1; ; attempt++) {
      await download(hub, url, file, partial, onBytes);
      if ((await checksum(partial, file)) === blobId(file)) break;
      await rm(partial, { force: true });
      if (attempt === 2) throw wrongBytes(hub, file);
    }
    await explainWrites(blob, () => rename(partial, blob));
    await syncFolder(dirname(blob));
    return blob;
  } finally {
    await release().catch(() => {}); // fails if another process took the lock over
  }
}

const blobPath = ({ folder }: Hub, file: HubFile) => join(folder, 'blobs', blobId(file));

/** Where the bytes of an interrupted download are. */
export const partialPath = (hub: Hub, file: HubFile) => `${blobPath(hub, file)}.incomplete`;

/** Milliseconds between attempts to lock a blob that another process downloads. */
const LOCK_DELAY = 500;

/** Waits until no other process downloads the blob. @throws the reason of `hub.signal` once it is aborted */
async function lockBlob(blob: string, { signal }: Hub): Promise<() => Promise<void>> {
  for (;;) {
    signal?.throwIfAborted();
    try {
      return await lock(blob, {
        realpath: false,
        lockfilePath: `${blob}.lock`,
        onCompromised: () => {}, // two processes that write at once write the same bytes to the same offsets
      });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ELOCKED') throw error;
    }
    await sleep(LOCK_DELAY, undefined, { signal }).catch(() => {});
  }
}

const wrongBytes = (hub: Hub, file: HubFile) =>
  hubError(
    hub,
    `${file.path}: expected bytes with the checksum ${blobId(file)}, found others in two downloads. ` +
      'A proxy or mirror between this machine and the hub changes them: try another network or HF_ENDPOINT.',
  );

/** Downloads all bytes, and resumes if a connection is cut. */
async function download(hub: Hub, url: string, file: HubFile, partial: string, onBytes: (bytes: number) => void) {
  const { size } = file;
  let have = Math.min((await fileSize(partial)) ?? 0, size);
  if (have === 0) await explainWrites(partial, async () => (await open(partial, 'w')).close());
  for (let failures = 0; have < size; ) {
    const before = have;
    let reason = 'the connection was closed';
    let isSlow = false;
    try {
      have = await append(
        await request(hub, url, { headers: { range: `bytes=${have}-`, 'accept-encoding': 'identity' } }),
        { partial, have, size, onBytes, timeout: hub.timeout ?? TIMEOUT, signal: hub.signal },
      );
    } catch (error) {
      if (error instanceof HubError || hub.signal?.aborted || isFileError(error)) throw error;
      reason = reasonOf(error);
      isSlow = error instanceof SlowError;
      have = (await fileSize(partial)) ?? 0;
    }
    failures = have > before && !isSlow ? 0 : failures + 1;
    if (failures === ATTEMPTS) {
      throw hubError(
        hub,
        `${file.path}: the download stopped at byte ${have} of ${size} (${reason}). Run it again to resume.`,
      );
    }
    if (have < size) await waitBeforeRetry(failures, undefined, { ...hub, firstDelay: hub.retryDelay });
  }
}

interface PartialFile {
  readonly partial: string;
  readonly have: number;
  readonly size: number;
  readonly onBytes: (bytes: number) => void;
  readonly timeout: number;
  readonly signal: AbortSignal | undefined;
}

/** Appends a response's bytes to the partial file; overwrites it if the hub sent the whole file. */
async function append(
  response: Response,
  { partial, have, size, onBytes, timeout, signal }: PartialFile,
): Promise<number> {
  const from = Number(/^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '')?.[1]);
  let at = response.status === 206 && from === have ? have : 0;
  if (response.status === 206 && at !== from) throw new Error(`bytes from ${from} instead of ${have}`);
  const write = <T>(work: () => Promise<T>) => explainWrites(partial, work);
  const file = await write(() => open(partial, 'r+'));
  try {
    await write(() => file.truncate(at));
    for await (const chunk of chunksOf(response, timeout, signal)) {
      const part = chunk.subarray(0, size - at);
      await write(() => file.write(part, 0, part.length, at));
      at += part.length;
      onBytes(at);
      if (part.length < chunk.length) break; // more bytes than the file has: the checksum decides
    }
    await write(() => file.sync());
  } finally {
    await file.close();
  }
  return at;
}

/** Fewer bytes in the time of `HubOptions.timeout` are a failure. */
const MIN_BYTES = 10_000;

class SlowError extends Error {}

/** A response's body. @throws {SlowError} if it arrives too slowly, or not at all; the signal's reason if it is aborted */
async function* chunksOf(
  { body }: Response,
  timeout: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (body === null) return;
  const reader = body.getReader();
  let arrived = 0;
  let isSlow = false;
  const timer = setInterval(() => {
    isSlow = arrived < MIN_BYTES;
    arrived = 0;
    if (isSlow) endRead();
  }, timeout);
  const endRead = () => void reader.cancel().catch(() => {}); // ends the read that waits
  const ignoreAbort = onAbort(signal, endRead);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      signal?.throwIfAborted();
      if (isSlow) throw new SlowError(`fewer than ${MIN_BYTES} bytes in ${durationText(timeout)}`);
      if (done) return;
      arrived += value.length;
      yield value;
    }
  } finally {
    clearInterval(timer);
    ignoreAbort();
    await reader.cancel().catch(() => {});
  }
}

const isFileError = (error: unknown) => error instanceof WriteError;

const checksum = (path: string, { sha256, size }: HubFile): Promise<string> =>
  hashFile(path, sha256 === undefined ? createHash('sha1').update(`blob ${size}\0`) : createHash('sha256'));

/** Size in bytes; undefined if there is no such file. */
export const fileSize = async (path: string): Promise<number | undefined> =>
  (await stat(path).catch(() => undefined))?.size;
