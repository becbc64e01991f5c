// What a power failure may leave on a disk: everything that was synced, and any part of the rest.
import fs from 'node:fs';
import { dirname, join } from 'node:path';

/** @typedef {{ id: number, kind: 'file' | 'folder' | 'link', target?: string }} Entry a name in a folder */
/** @typedef {Map<string, Entry>} Names */

/**
 * Records what is synced in a folder.
 * - A file's content is safe once the file is synced. Before, any prefix of it may be there, or zeros, or nothing.
 * - A folder's names are safe once the folder is synced. Before, its changes are on the disk up to any one of them, in their order:
 *   a file system with a journal keeps the order, and a rename is one change.
 *
 * @param {string} root everything in it counts as synced now; its own name too
 * @param {number} seed decides what is left
 */
export function recordDisk(root, seed) {
  const random = randomFrom(seed);
  /** @type {Map<number, Buffer>} the safe content of files */
  const contents = new Map();
  /** @type {Map<number, Names[]>} the names of folders: the safe state, and after each change since */
  const histories = new Map();

  /** @type {Map<number, number>} our id by inode number, which the system uses again */
  const ids = new Map();
  let lastId = 0;
  const newId = (/** @type {number} */ inode) => {
    ids.set(inode, ++lastId);
    return lastId;
  };
  const idOfInode = (/** @type {number} */ inode) => ids.get(inode) ?? newId(inode);
  const idOf = (/** @type {string} */ path) => idOfInode(fs.lstatSync(path).ino);

  /** @param {string} path @returns {Names} */
  const namesIn = (path) =>
    new Map(
      fs.readdirSync(path, { withFileTypes: true }).map((entry) => {
        const at = join(path, entry.name);
        const id = idOf(at);
        if (entry.isSymbolicLink()) return [entry.name, { id, kind: 'link', target: fs.readlinkSync(at) }];
        return [entry.name, { id, kind: entry.isDirectory() ? 'folder' : 'file' }];
      }),
    );
  /** @param {string} path a folder of which all content is safe */
  function begin(path) {
    const names = namesIn(path);
    histories.set(idOf(path), [names]);
    for (const [name, { id, kind }] of names) {
      if (kind === 'folder') begin(join(path, name));
      if (kind === 'file') contents.set(id, fs.readFileSync(join(path, name)));
    }
  }
  begin(root);

  /**
   * @param {string} path whose folder's names may have changed
   * @param {boolean} isNew
   */
  function changed(path, isNew) {
    if (isNew && fs.existsSync(path)) newId(fs.lstatSync(path).ino);
    const folder = dirname(path);
    if (!folder.startsWith(root) || !fs.existsSync(folder)) return;
    const history = histories.get(idOf(folder)) ?? [new Map()];
    histories.set(idOf(folder), [...history, namesIn(folder)]);
  }

  /** @param {string} path */
  function synced(path) {
    if (!fs.existsSync(path)) return;
    if (fs.statSync(path).isDirectory()) histories.set(idOf(path), [namesIn(path)]);
    else contents.set(idOf(path), fs.readFileSync(path));
  }

  function losePower() {
    /** @type {Map<number, Buffer>} */
    const current = new Map();
    const read = (/** @type {string} */ path) => {
      for (const [name, { id, kind }] of namesIn(path)) {
        if (kind === 'folder') read(join(path, name));
        if (kind === 'file') current.set(id, fs.readFileSync(join(path, name)));
      }
    };
    read(root);
    const rootId = idOf(root);
    const left = (/** @type {number} */ id) => {
      const [safe, now] = [contents.get(id) ?? Buffer.alloc(0), current.get(id)];
      if (now === undefined || now.equals(safe)) return safe;
      const part = Buffer.from(now.subarray(0, Math.floor(random() * (now.length + 1))));
      const zeros = Buffer.alloc(now.length);
      part.copy(zeros);
      return [safe, now, part, zeros][Math.floor(random() * 4)];
    };
    const write = (/** @type {number} */ id, /** @type {string} */ path) => {
      const history = histories.get(id) ?? [new Map()];
      const names = history[Math.floor(random() * history.length)];
      for (const [name, entry] of names) {
        const at = join(path, name);
        if (entry.kind === 'link') fs.symlinkSync(entry.target, at);
        else if (entry.kind === 'file') fs.writeFileSync(at, left(entry.id));
        else {
          fs.mkdirSync(at);
          write(entry.id, at);
        }
      }
    };
    const after = `${root}.after`;
    fs.mkdirSync(after);
    write(rootId, after);
    for (const name of fs.readdirSync(root)) fs.rmSync(join(root, name), { recursive: true, force: true });
    for (const name of fs.readdirSync(after)) fs.renameSync(join(after, name), join(root, name));
    fs.rmdirSync(after);
  }

  return { changed, synced, losePower };
}

/** As `seededRandom` of the internal package, which this file cannot import: it is loaded without a build. @param {number} seed */
function randomFrom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
