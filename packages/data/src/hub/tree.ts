import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe } from '@wpo/internal/describe';
import { makeFolder, replaceFile } from '@wpo/internal/node/files';
import { isSafeSegment } from './repository';

/** A file of a repository at one commit. */
export interface HubFile {
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** Git's object id: the SHA-1 of a small file's content, or of a large file's LFS pointer. */
  readonly gitId: string;
  /** SHA-256 of a large file, which is stored in Git LFS. */
  readonly sha256?: string;
}

/** The name of a file's content in the cache, which is its checksum. */
export const blobId = ({ gitId, sha256 }: HubFile) => sha256 ?? gitId;

const treePath = (folder: string, commit: string) => join(folder, 'trees', `${commit}.json`);

/**
 * A commit's list of files from the cache, in the format of Python's huggingface_hub (`trees/<commit>.json`, version 1). A
 * commit never changes, so the list stays valid. Undefined if the cache has no readable list.
 */
export async function readTree(folder: string, commit: string): Promise<HubFile[] | undefined> {
  try {
    const { format_version, files } = JSON.parse(await readFile(treePath(folder, commit), 'utf8')) as Tree;
    if (format_version !== 1) return undefined;
    return Object.entries(files).map(([path, { size, blob_id, lfs_sha256 }]) =>
      checkFile({ path, size, gitId: blob_id, sha256: lfs_sha256 }),
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
  await makeFolder(dirname(path));
  await replaceFile(path, JSON.stringify(tree, null, 1));
}

/** @throws {Error} if the path leads out of the snapshot, or size or checksum is missing */
export function checkFile(file: HubFile): HubFile {
  const isInside = file.path.split('/').every(isSafeSegment);
  const hasChecksum = /^[0-9a-f]{40}$/.test(file.gitId) && /^[0-9a-f]{64}$/.test(file.sha256 ?? '0'.repeat(64));
  if (isInside && hasChecksum && Number.isSafeInteger(file.size) && file.size >= 0) return file;
  throw new Error(`the file ${describe(file.path)} has no valid path, size or checksum`);
}
