// @ts-check
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, open } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createInflateRaw } from 'node:zlib';
import { Problem } from './problem.mjs';

// Zip's fields are where APPNOTE.TXT puts them (pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, section 4.3).
const END = 0x06054b50;
const ENTRY = 0x02014b50;
const LOCAL = 0x04034b50;
const STORED = 0;
const DEFLATED = 8;

/**
 * Unpacks members of a zip archive (a Python wheel is one), streaming: no member is ever whole in memory.
 * @param {string} archive path of a zip below 4 GiB
 * @param {(member: string) => string | undefined} place where a member goes, relative to `folder`; undefined leaves it out
 * @param {string} folder
 * @returns {Promise<string[]>} the paths written, relative to `folder`
 * @throws {Problem} where the archive is cut short, of a kind not read here, or a member would land outside `folder`
 */
export async function unzip(archive, place, folder) {
  const file = await open(archive);
  try {
    const written = [];
    for (const entry of await readDirectory(file, archive)) {
      const path = entry.name.endsWith('/') ? undefined : place(entry.name);
      if (path === undefined) continue;
      if (isAbsolute(path) || path.split('/').includes('..')) {
        throw new Problem(`${archive}: the member ${entry.name} would be written outside ${folder}.`);
      }
      await writeMember(file, archive, entry, join(folder, path));
      written.push(path);
    }
    return written;
  } finally {
    await file.close();
  }
}

/**
 * @param {import('node:fs/promises').FileHandle} file
 * @param {number} position
 * @param {number} length
 */
async function readAt(file, position, length) {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, position);
  return buffer.subarray(0, bytesRead);
}

/**
 * @param {import('node:fs/promises').FileHandle} file
 * @param {string} archive
 */
async function readDirectory(file, archive) {
  const { size } = await file.stat();
  // the end record is 22 bytes and a comment of at most 65,535
  const from = Math.max(0, size - 22 - 0xffff);
  const end = await readAt(file, from, size - from);
  let at = end.length - 22;
  while (at >= 0 && end.readUInt32LE(at) !== END) at--;
  if (at < 0) {
    throw new Problem(`${archive} is not a whole zip archive (${size} bytes, no end record).`, [
      'delete it and run the installation again',
    ]);
  }
  const count = end.readUInt16LE(at + 10);
  const length = end.readUInt32LE(at + 12);
  const start = end.readUInt32LE(at + 16);
  if (count === 0xffff || start === 0xffffffff)
    throw new Problem(`${archive} is a zip64 archive, which is not read here.`);

  const directory = await readAt(file, start, length);
  const entries = [];
  for (let p = 0; entries.length < count; ) {
    if (p + 46 > directory.length || directory.readUInt32LE(p) !== ENTRY) {
      throw new Problem(`${archive}: entry ${entries.length + 1} of ${count} of its directory is unreadable.`);
    }
    const nameLength = directory.readUInt16LE(p + 28);
    entries.push({
      name: directory.toString('utf8', p + 46, p + 46 + nameLength),
      method: directory.readUInt16LE(p + 10),
      packed: directory.readUInt32LE(p + 20),
      size: directory.readUInt32LE(p + 24),
      executable: ((directory.readUInt32LE(p + 38) >>> 16) & 0o100) !== 0,
      offset: directory.readUInt32LE(p + 42),
    });
    p += 46 + nameLength + directory.readUInt16LE(p + 30) + directory.readUInt16LE(p + 32);
  }
  return entries;
}

/**
 * @param {import('node:fs/promises').FileHandle} file
 * @param {string} archive
 * @param {{name: string, method: number, packed: number, size: number, executable: boolean, offset: number}} entry
 * @param {string} path
 */
async function writeMember(file, archive, entry, path) {
  const local = await readAt(file, entry.offset, 30);
  if (local.length < 30 || local.readUInt32LE(0) !== LOCAL) throw new Problem(`${archive}: ${entry.name} is cut off.`);
  if (entry.method !== STORED && entry.method !== DEFLATED) {
    throw new Problem(
      `${archive}: ${entry.name} is packed by method ${entry.method}; stored (0) and deflated (8) are read here.`,
    );
  }
  await mkdir(dirname(path), { recursive: true });
  const start = entry.offset + 30 + local.readUInt16LE(26) + local.readUInt16LE(28);
  const packed =
    entry.packed === 0
      ? Readable.from([])
      : createReadStream(archive, { start, end: start + entry.packed - 1, highWaterMark: 1 << 20 });
  const out = createWriteStream(path, { mode: entry.executable ? 0o777 : 0o666 });
  await (entry.method === DEFLATED ? pipeline(packed, createInflateRaw(), out) : pipeline(packed, out));
  if (out.bytesWritten !== entry.size) {
    throw new Problem(`${archive}: ${entry.name} gave ${out.bytesWritten} bytes where ${entry.size} were promised.`);
  }
}
