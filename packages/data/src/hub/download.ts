import { createHash } from 'node:crypto';
import { open, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { makeFolder, syncFolder } from '@wpo/internal/node/files';
import { hashFile } from '@wpo/internal/node/hash';
import { waitBeforeRetry } from '@wpo/internal/node/retry';
import { lock } from 'proper-lockfile';
import type { Hub } from './repository';
import { ATTEMPTS, HubError, reasonOf, request } from './request';
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
  const blob = join(hub.folder, 'blobs', blobId(file));
  if ((await fileSize(blob)) === file.size) return blob;
  await makeFolder(dirname(blob));
  const release = await lock(blob, {
    realpath: false,
    lockfilePath: `${blob}.lock`,
    retries: { forever: true, minTimeout: 100, maxTimeout: 1000 },
    onCompromised: () => {}, // two processes that write at once write the same bytes to the same offsets
  });
  try {
    if ((await fileSize(blob)) === file.size) return blob; // another process downloaded it meanwhile
    const partial = `${blob}.incomplete`;
    for (let attempt = 1; ; attempt++) {
      await download(hub, url, file, partial, onBytes);
      if ((await checksum(partial, file)) === blobId(file)) break;
      await rm(partial, { force: true });
      if (attempt === 2) throw wrongBytes(hub, file);
    }
    await rename(partial, blob);
    await syncFolder(dirname(blob));
    return blob;
  } finally {
    await release().catch(() => {}); // fails if another process took the lock over
  }
}

const wrongBytes = (hub: Hub, file: HubFile) =>
  new HubError(
    `${hub.text}: ${file.path}: expected bytes with the checksum ${blobId(file)}, found others in two downloads. ` +
      'A proxy or mirror between this machine and the hub changes them: try another network or HF_ENDPOINT.',
  );

/** Downloads all bytes, and resumes if a connection is cut. */
async function download(hub: Hub, url: string, file: HubFile, partial: string, onBytes: (bytes: number) => void) {
  const { size } = file;
  let have = Math.min((await fileSize(partial)) ?? 0, size);
  if (have === 0) await (await open(partial, 'w')).close();
  for (let failures = 0; have < size; ) {
    const before = have;
    let reason = 'the connection was closed';
    try {
      have = await append(
        await request(hub, url, { headers: { range: `bytes=${have}-`, 'accept-encoding': 'identity' } }),
        { partial, have, size, onBytes },
      );
    } catch (error) {
      if (error instanceof HubError || hub.signal?.aborted || isFileError(error)) throw error;
      reason = reasonOf(error);
      have = (await fileSize(partial)) ?? 0;
    }
    failures = have > before ? 0 : failures + 1;
    if (failures === ATTEMPTS) {
      throw new HubError(
        `${hub.text}: ${file.path}: the download stopped at byte ${have} of ${size} (${reason}). Run it again to resume.`,
      );
    }
    if (have < size) await waitBeforeRetry(failures, undefined, { firstDelay: hub.retryDelay, signal: hub.signal });
  }
}

interface PartialFile {
  readonly partial: string;
  readonly have: number;
  readonly size: number;
  readonly onBytes: (bytes: number) => void;
}

/** Appends a response's bytes to the partial file; overwrites it if the hub sent the whole file. */
async function append(response: Response, { partial, have, size, onBytes }: PartialFile): Promise<number> {
  const from = Number(/^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '')?.[1]);
  let at = response.status === 206 && from === have ? have : 0;
  if (response.status === 206 && at !== from) throw new Error(`bytes from ${from} instead of ${have}`);
  const file = await open(partial, 'r+');
  try {
    await file.truncate(at);
    for await (const chunk of response.body ?? []) {
      const part = (chunk as Uint8Array).subarray(0, size - at);
      await file.write(part, 0, part.length, at);
      at += part.length;
      onBytes(at);
      if (part.length < (chunk as Uint8Array).length) break; // more bytes than the file has: the checksum decides
    }
    await file.sync();
  } finally {
    await file.close();
  }
  return at;
}

const isFileError = (error: unknown) =>
  /^(ENOSPC|EACCES|EROFS|EDQUOT|EIO)$/.test((error as NodeJS.ErrnoException).code ?? '');

const checksum = (path: string, { sha256, size }: HubFile): Promise<string> =>
  hashFile(path, sha256 === undefined ? createHash('sha1').update(`blob ${size}\0`) : createHash('sha256'));

/** Size in bytes; undefined if there is no such file. */
export const fileSize = async (path: string): Promise<number | undefined> =>
  (await stat(path).catch(() => undefined))?.size;
