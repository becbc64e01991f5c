import { mkdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { replaceFile } from '@wpo/internal/node/files';

/** A file of a repository at one commit. */
export interface HubFile {
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** Git's object id: the SHA-1 of a small file's content, of a large one's pointer. */
  readonly gitId: string;
  /** Of a large file, which is kept outside of git. */
  readonly sha256?: string;
}

/** Names a file's content in the cache, and is its checksum. */
export const blobId = ({ gitId, sha256 }: HubFile) => sha256 ?? gitId;

const treePath = (folder: string, commit: string) => join(folder, 'trees', `${commit}.json`);

/**
 * A commit's list of files, kept in the cache as Python's huggingface_hub does (`trees/<commit>.json`, format 1): no
 * commit changes, and offline it tells what is missing. Undefined where there is none that can be read.
 */
export async function readTree(folder: string, commit: string): Promise<HubFile[] | undefined> {
  try {
    const { format_version, files } = JSON.parse(await readFile(treePath(folder, commit), 'utf8')) as Tree;
    if (format_version !== 1) return undefined;
    return Object.entries(files).map(([path, { size, blob_id, lfs_sha256 }]) =>
      checkedFile({ path, size, gitId: blob_id, sha256: lfs_sha256 }),
    );
  } catch {
    return undefined;
  }
}

interface Tree {
  readonly format_version: number;
  readonly files: Readonly<Record<string, TreeEntry>>;
}

interface TreeEntry {
  readonly size: number;
  readonly blob_id: string;
  readonly lfs_sha256?: string;
  readonly lfs_size?: number;
}

export async function writeTree(folder: string, commit: string, files: readonly HubFile[]): Promise<void> {
  const entries = files.map(({ path, size, gitId, sha256 }): [string, TreeEntry] => [
    path,
    { size, blob_id: gitId, ...(sha256 === undefined ? {} : { lfs_sha256: sha256, lfs_size: size }) },
  ]);
  const tree: Tree = { format_version: 1, files: Object.fromEntries(entries) };
  const path = treePath(folder, commit);
  await mkdir(dirname(path), { recursive: true });
  await replaceFile(path, JSON.stringify(tree, null, 1));
}

/** @throws {Error} where a path would lead out of the snapshot, or the file has no size or checksum */
export function checkedFile(file: HubFile): HubFile {
  const within = file.path.split('/').every((part) => !/^(\.{0,2}|.*[\\\0].*)$/.test(part));
  const checked = /^[0-9a-f]{40}$/.test(file.gitId) && /^[0-9a-f]{64}$/.test(file.sha256 ?? '0'.repeat(64));
  if (within && checked && Number.isSafeInteger(file.size)) return file;
  throw new Error(`a file ${JSON.stringify(file.path)} without a path, size or checksum that can be used`);
}
