// @ts-check
import { createWriteStream } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import yauzl from 'yauzl';
import { InstallError } from './errors.mjs';

/**
 * Unpacks members of a zip archive, such as a Python wheel. Members are streamed.
 * @param {string} archive
 * @param {(member: string) => string | undefined} place a member's path in `folder`; undefined skips the member
 * @param {string} folder
 * @returns {Promise<string[]>} the paths written, relative to `folder`
 * @throws {InstallError} if the archive is damaged or a member would be written outside `folder`
 */
export async function unzip(archive, place, folder) {
  const written = [];
  try {
    const zip = await yauzl.openPromise(archive);
    try {
      for await (const entry of zip.eachEntry()) {
        const path = entry.fileName.endsWith('/') ? undefined : place(entry.fileName);
        if (path === undefined) continue;
        const fault = yauzl.validateFileName(path);
        if (fault) throw new Error(fault);
        const target = join(folder, path);
        await mkdir(dirname(target), { recursive: true });
        const isExecutable = ((entry.externalFileAttributes >>> 16) & 0o100) !== 0;
        const out = createWriteStream(target, { mode: isExecutable ? 0o777 : 0o666 });
        await pipeline(await zip.openReadStreamPromise(entry), out);
        written.push(path);
      }
    } finally {
      zip.close();
    }
  } catch (error) {
    throw new InstallError(
      `${archive} cannot be unpacked: ${/** @type {Error} */ (error).message}`,
      ['delete it and run the installation again'],
      error,
    );
  }
  return written;
}
