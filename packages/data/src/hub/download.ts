import { createHash } from 'node:crypto';
import { mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { syncFolder } from '@wpo/internal/node/files';
import { hashFile } from '@wpo/internal/node/hash';
import { waitBeforeRetry } from '@wpo/internal/node/retry';
import { lock } from 'proper-lockfile';
import { ATTEMPTS, HubError, request, why } from './request';
import type { Hub } from './settings';
import { blobId, type HubFile } from './tree';

/**
 * Brings a file's content into the cache as `blobs/<checksum>`. What an earlier, broken download left is gone on with; the
 * file appears under its name once its checksum is right. Processes that want the same blob wait for one another.
 *
 * @param onBytes told how many bytes of the file are here
 * @returns the blob's path
 * @throws {HubError} where the hub does not give the file, or gives other bytes than it says
 */
export async function fetchBlob(
  hub: Hub,
  url: string,
  file: HubFile,
  onBytes: (bytes: number) => void,
): Promise<string> {
  const blob = join(hub.folder, 'blobs', blobId(file));
  if ((await sizeOf(blob)) === file.size) return blob;
  await mkdir(dirname(blob), { recursive: true });
  const release = await lock(blob, {
    realpath: false,
    lockfilePath: `${blob}.lock`,
    retries: { forever: true, minTimeout: 100, maxTimeout: 1000 },
    onCompromised: () => {}, // two who write at once write the same bytes to the same places
  });
  try {
    if ((await sizeOf(blob)) === file.size) return blob; // another process was faster
    const partial = `${blob}.incomplete`;
    for (let attempt = 1; ; attempt++) {
      await fill(hub, url, file, partial, onBytes);
      if ((await checksum(partial, file)) === blobId(file)) break;
      await rm(partial, { force: true });
      if (attempt === 2) throw wrongBytes(hub, file);
    }
    await rename(partial, blob);
    await syncFolder(dirname(blob));
    return blob;
  } finally {
    await release().catch(() => {}); // as above: it is not ours any more
  }
}

const wrongBytes = (hub: Hub, file: HubFile) =>
  new HubError(
    `${hub.text}: ${file.path}: found bytes whose checksum is wrong, twice, wanted ${blobId(file)}. ` +
      'What lies between here and the hub changes them: try another network or HF_ENDPOINT.',
  );

/** Downloads until all bytes are here, going on where a connection was cut. */
async function fill(hub: Hub, url: string, file: HubFile, partial: string, onBytes: (bytes: number) => void) {
  const { size } = file;
  let have = Math.min((await sizeOf(partial)) ?? 0, size);
  if (have === 0) await (await open(partial, 'w')).close();
  for (let failures = 0; have < size; ) {
    const before = have;
    let fault = 'the connection was closed';
    try {
      have = await append(
        await request(hub, url, { headers: { range: `bytes=${have}-`, 'accept-encoding': 'identity' } }),
        {
          partial,
          have,
          size,
          onBytes,
        },
      );
    } catch (error) {
      if (error instanceof HubError || hub.signal?.aborted || isFileFault(error)) throw error;
      fault = why(error);
      have = (await sizeOf(partial)) ?? 0;
    }
    failures = have > before ? 0 : failures + 1;
    if (failures === ATTEMPTS) {
      throw new HubError(
        `${hub.text}: ${file.path}: the download broke off at byte ${have} of ${size} (${fault}). Start again to go on.`,
      );
    }
    if (have < size) await waitBeforeRetry(failures, undefined, { firstDelay: hub.retryDelay, signal: hub.signal });
  }
}

interface Filling {
  readonly partial: string;
  readonly have: number;
  readonly size: number;
  readonly onBytes: (bytes: number) => void;
}

/** Writes an answer's bytes behind those that are here, or from the start where the whole file was sent. */
async function append(answer: Response, { partial, have, size, onBytes }: Filling): Promise<number> {
  const from = Number(/^bytes (\d+)-/.exec(answer.headers.get('content-range') ?? '')?.[1]);
  let at = answer.status === 206 && from === have ? have : 0;
  if (answer.status === 206 && at !== from)
    throw new Error(`bytes from ${from} where those from ${have} were asked for`);
  const file = await open(partial, 'r+');
  try {
    await file.truncate(at);
    for await (const chunk of answer.body ?? []) {
      const part = (chunk as Uint8Array).subarray(0, size - at);
      await file.write(part, 0, part.length, at);
      at += part.length;
      onBytes(at);
      if (part.length < (chunk as Uint8Array).length) break; // the checksum tells what such bytes are worth
    }
    await file.sync();
  } finally {
    await file.close();
  }
  return at;
}

const isFileFault = (error: unknown) =>
  /^(ENOSPC|EACCES|EROFS|EDQUOT|EIO)$/.test((error as NodeJS.ErrnoException).code ?? '');

const checksum = (path: string, { sha256, size }: HubFile): Promise<string> =>
  hashFile(path, sha256 === undefined ? createHash('sha1').update(`blob ${size}\0`) : createHash('sha256'));

/** Undefined where there is no such file. */
export const sizeOf = async (path: string): Promise<number | undefined> =>
  (await stat(path).catch(() => undefined))?.size;
