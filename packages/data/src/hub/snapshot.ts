import { randomUUID } from 'node:crypto';
import { copyFile, readFile, rename, statfs, symlink } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { forEachConcurrently } from '@wpo/internal/concurrently';
import { describe } from '@wpo/internal/describe';
import { makeFolder, replaceFile } from '@wpo/internal/node/files';
import { explainWrites } from '@wpo/internal/node/write-errors';
import { listFiles as filesIn } from '../node/list-files';
import { fetchBlob, fileSize, partialPath } from './download';
import type { Hub } from './repository';
import { HubError, hubError, onAbort, request } from './request';
import { checkFile, type HubFile, readTree, writeTree } from './tree';

/** Files of a repository at one commit, in the cache. */
export interface Snapshot {
  /** `snapshots/<commit>`, in the layout of Python's huggingface_hub. */
  readonly folder: string;
  /** The files' paths in the repository. */
  readonly files: readonly string[];
}

/** Chooses among the paths of all files of a repository. */
type Choose = (paths: readonly string[]) => readonly string[];

const COMMIT = /^[0-9a-f]{40}$/;
const CONCURRENCY = 4;

/**
 * Downloads the chosen files of a repository that are not in the cache yet.
 *
 * @throws {HubError} if the hub does not send them, or if the cache lacks one and `hub.offline` is set
 */
export async function fetchSnapshot(hub: Hub, choose: Choose): Promise<Snapshot> {
  if (hub.offline) return cachedSnapshot(hub, choose);
  const commit = await commitOf(hub);
  const folder = snapshotFolder(hub, commit);
  const tree = (await readTree(hub.folder, commit)) ?? (await listFiles(hub, commit));
  const chosen = new Set(choose(tree.map(({ path }) => path)));
  await fetchFiles(
    hub,
    commit,
    tree.filter(({ path }) => chosen.has(path)),
  );
  return { folder, files: [...chosen] };
}

/** The chosen files from the cache. If the cache has the commit's list of files, it must also have all chosen files. */
async function cachedSnapshot(hub: Hub, choose: Choose): Promise<Snapshot> {
  const { revision } = hub.name;
  const commit = (await readFile(join(hub.folder, 'refs', revision), 'utf8').catch(() => revision)).trim();
  const folder = snapshotFolder(hub, commit);
  const cached = COMMIT.test(commit) ? await filesIn(folder).catch(() => []) : [];
  if (cached.length === 0) throw notCached(hub, 'the repository');
  const tree = await readTree(hub.folder, commit);
  const files = choose(tree?.map(({ path }) => path) ?? cached);
  const missing = files.find((path) => !cached.includes(path));
  if (missing !== undefined) throw notCached(hub, missing);
  return { folder, files };
}

const notCached = (hub: Hub, what: string) =>
  hubError(
    hub,
    `HF_HUB_OFFLINE is set, and the cache does not hold ${what}. Download it once with HF_HUB_OFFLINE unset.`,
  );

const snapshotFolder = (hub: Hub, commit: string) => join(hub.folder, 'snapshots', commit);

/** The commit to which the revision currently refers; saved in `refs/` for offline use. */
async function commitOf(hub: Hub): Promise<string> {
  const { type, repo, revision } = hub.name;
  if (COMMIT.test(revision)) return revision;
  const { datasetInfo, modelInfo } = await import('@huggingface/hub');
  const params = { name: repo, revision, additionalFields: ['sha' as const], ...access(hub) };
  const { sha } = await checkResponse(hub, () => (type === 'dataset' ? datasetInfo(params) : modelInfo(params)));
  if (typeof sha !== 'string' || !COMMIT.test(sha))
    throw hubError(hub, `the hub returned no commit for the revision ${describe(revision)}.`);
  const ref = join(hub.folder, 'refs', ...revision.split('/'));
  await makeFolder(dirname(ref));
  await replaceFile(ref, sha);
  return sha;
}

/** Bounds for the list of a repository's files. The hub itself advises at most 100,000 files, and sends 1000 a page. */
const MAX_ENTRIES = 200_000;
const MAX_PAGES = 1000;

const endlessList = (hub: Hub) =>
  hubError(
    hub,
    `expected a list of at most ${MAX_ENTRIES} files in ${MAX_PAGES} replies, found more. ` +
      'Check HF_ENDPOINT, or download the files by hand.',
  );

async function listFiles(hub: Hub, commit: string): Promise<HubFile[]> {
  const library = await import('@huggingface/hub');
  const repo = { type: hub.name.type, name: hub.name.repo };
  const files = await checkResponse(hub, async () => {
    const found: HubFile[] = [];
    let entries = 0;
    let pages = 0;
    const { hubUrl, fetch } = access(hub);
    const fetchPage = ((url: string | URL) => {
      if (++pages > MAX_PAGES) throw endlessList(hub);
      return fetch(url);
    }) as typeof fetch;
    for await (const entry of library.listFiles({
      repo,
      revision: commit,
      recursive: true,
      hubUrl,
      fetch: fetchPage,
    })) {
      if (++entries > MAX_ENTRIES) throw endlessList(hub);
      const { type, path, size, oid = '', lfs } = entry;
      if (type === 'file') found.push(checkFile({ path, size, gitId: oid, sha256: lfs?.oid }));
    }
    return found;
  });
  await writeTree(hub.folder, commit, files);
  return files;
}

/** Options that make the library use our own requests, which add the token and retry. */
const access = (hub: Hub) => ({
  hubUrl: hub.endpoint,
  fetch: ((input: string | URL) => request(hub, String(input), { whole: true })) as typeof fetch,
});

/** Reports a response that the library cannot parse. */
async function checkResponse<T>(hub: Hub, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    hub.signal?.throwIfAborted();
    if (error instanceof HubError) throw error;
    // messages of the engine, such as a SyntaxError's, say nothing about the reply
    const why = (error as Error).constructor === Error ? ` (${(error as Error).message})` : '';
    throw hubError(hub, `${hub.endpoint} sent a response that is not the hub’s${why}. Check HF_ENDPOINT.`);
  }
}

/** Downloads files, several at once. If one fails, the others are aborted. */
async function fetchFiles(given: Hub, commit: string, files: readonly HubFile[]): Promise<void> {
  const stop = new AbortController();
  const hub = { ...given, signal: stop.signal };
  await checkSpace(hub, commit, files);
  const total = files.reduce((sum, { size }) => sum + size, 0);
  const downloaded = new Map<string, number>(); // bytes by path
  const fetchOne = async (file: HubFile) => {
    const report = (bytes: number) => {
      downloaded.set(file.path, bytes);
      hub.onDownload?.({ file: file.path, done: [...downloaded.values()].reduce((sum, n) => sum + n, 0), total });
    };
    const path = join(snapshotFolder(hub, commit), file.path);
    if ((await fileSize(path)) !== file.size) {
      await linkBlob(path, await fetchBlob(hub, resolveUrl(hub, commit, file.path), file, report));
    }
    downloaded.set(file.path, file.size);
  };
  const ignoreAbort = onAbort(given.signal, (reason) => stop.abort(reason));
  try {
    await forEachConcurrently(files, CONCURRENCY, fetchOne, (error) => stop.abort(error));
  } finally {
    ignoreAbort();
  }
}

/** @throws {HubError} if the disk has too little space for the files that are not in the cache yet */
async function checkSpace(hub: Hub, commit: string, files: readonly HubFile[]): Promise<void> {
  let needed = 0;
  for (const file of files) {
    if ((await fileSize(join(snapshotFolder(hub, commit), file.path))) === file.size) continue;
    needed += file.size - ((await fileSize(partialPath(hub, file))) ?? 0);
  }
  const disk = await statfs(hub.folder).catch(() => undefined);
  if (disk === undefined || needed <= disk.bavail * disk.bsize) return;
  throw hubError(
    hub,
    `${hub.folder}: expected ${needed} bytes of free disk space for the download, found ${disk.bavail * disk.bsize}. ` +
      'Delete files, or set HF_HOME to a folder on a larger disk.',
  );
}

function resolveUrl({ endpoint, name }: Hub, commit: string, path: string): string {
  const repo = `${name.type === 'dataset' ? 'datasets/' : ''}${name.repo}`;
  return `${endpoint}/${repo}/resolve/${commit}/${path.split('/').map(encodeURIComponent).join('/')}`;
}

/** Creates a snapshot's file as a symbolic link to its blob, or as a copy if links are not permitted. */
async function linkBlob(path: string, blob: string): Promise<void> {
  await makeFolder(dirname(path));
  const temporary = `${path}.${randomUUID()}`;
  await explainWrites(path, async () => {
    await symlink(relative(dirname(path), blob), temporary).catch(() => copyFile(blob, temporary));
    await rename(temporary, path);
  });
}
