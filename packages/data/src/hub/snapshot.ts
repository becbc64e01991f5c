import { randomUUID } from 'node:crypto';
import { copyFile, mkdir, readFile, rename, symlink } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { forEachConcurrently } from '@wpo/internal/concurrently';
import { replaceFile } from '@wpo/internal/node/files';
import { glob } from 'tinyglobby';
import { fetchBlob, sizeOf } from './download';
import { HubError, request } from './request';
import type { Hub } from './settings';
import { checkedFile, type HubFile, readTree, writeTree } from './tree';

/** Files of a repository at one commit, in the cache. */
export interface Snapshot {
  /** `snapshots/<commit>`, as Python's huggingface_hub has it. */
  readonly folder: string;
  /** Their paths in the repository. */
  readonly files: readonly string[];
}

type Choose = (paths: readonly string[]) => readonly string[];

const COMMIT = /^[0-9a-f]{40}$/;
const AT_ONCE = 4;

/**
 * Brings files of a repository into the cache, those that are not there yet.
 *
 * @param choose which of the repository's files
 * @throws {HubError} where the hub, or offline the cache, does not give them
 */
export async function fetchSnapshot(hub: Hub, choose: Choose): Promise<Snapshot> {
  if (hub.offline) return cachedSnapshot(hub, choose);
  const commit = await commitOf(hub);
  const folder = snapshotFolder(hub, commit);
  const tree = (await readTree(hub.folder, commit)) ?? (await listFiles(hub, commit));
  const wanted = new Set(choose(tree.map(({ path }) => path)));
  await fetchFiles(
    hub,
    commit,
    tree.filter(({ path }) => wanted.has(path)),
  );
  return { folder, files: [...wanted] };
}

/** What the cache holds of a repository; where its list of files is there too, all of the chosen ones must be. */
async function cachedSnapshot(hub: Hub, choose: Choose): Promise<Snapshot> {
  const { revision } = hub.name;
  const commit = (await readFile(join(hub.folder, 'refs', revision), 'utf8').catch(() => revision)).trim();
  const folder = snapshotFolder(hub, commit);
  const cached = COMMIT.test(commit) ? await glob('**/*', { cwd: folder }).catch(() => []) : [];
  if (cached.length === 0) throw notCached(hub, 'it');
  const tree = await readTree(hub.folder, commit);
  const files = choose(tree?.map(({ path }) => path) ?? cached);
  const missing = files.find((path) => !cached.includes(path));
  if (missing !== undefined) throw notCached(hub, missing);
  return { folder, files };
}

const notCached = (hub: Hub, what: string) =>
  new HubError(
    `${hub.text}: HF_HUB_OFFLINE is set, and the cache does not hold ${what}. Fetch it once with HF_HUB_OFFLINE unset.`,
  );

const snapshotFolder = (hub: Hub, commit: string) => join(hub.folder, 'snapshots', commit);

/** The commit that the revision names now; noted in `refs/`, for going on offline. */
async function commitOf(hub: Hub): Promise<string> {
  const { type, repo, revision } = hub.name;
  if (COMMIT.test(revision)) return revision;
  const { datasetInfo, modelInfo } = await import('@huggingface/hub');
  const params = { name: repo, revision, additionalFields: ['sha' as const], ...access(hub) };
  const { sha } = await understood(hub, () => (type === 'dataset' ? datasetInfo(params) : modelInfo(params)));
  if (!COMMIT.test(sha)) throw new HubError(`${hub.text}: the hub named no commit for ${JSON.stringify(revision)}.`);
  const ref = join(hub.folder, 'refs', ...revision.split('/'));
  await mkdir(dirname(ref), { recursive: true });
  await replaceFile(ref, sha);
  return sha;
}

async function listFiles(hub: Hub, commit: string): Promise<HubFile[]> {
  const library = await import('@huggingface/hub');
  const repo = { type: hub.name.type, name: hub.name.repo };
  const files = await understood(hub, async () => {
    const found: HubFile[] = [];
    for await (const entry of library.listFiles({ repo, revision: commit, recursive: true, ...access(hub) })) {
      const { type, path, size, oid = '', lfs } = entry;
      if (type === 'file') found.push(checkedFile({ path, size, gitId: oid, sha256: lfs?.oid }));
    }
    return found;
  });
  await writeTree(hub.folder, commit, files);
  return files;
}

/** What the library is to ask by: our own requests, which hold the token and try again. */
const access = (hub: Hub) => ({
  hubUrl: hub.endpoint,
  fetch: ((input: string | URL) => request(hub, String(input), { whole: true })) as typeof fetch,
});

/** Tells an answer that cannot be read as such. */
async function understood<T>(hub: Hub, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof HubError) throw error;
    throw new HubError(
      `${hub.text}: ${hub.endpoint} gave an answer that is not the hub’s (${(error as Error).message}). Check HF_ENDPOINT.`,
    );
  }
}

/** Fetches files, several at once; where one cannot be had, the others are stopped. */
async function fetchFiles(given: Hub, commit: string, files: readonly HubFile[]): Promise<void> {
  const stop = new AbortController();
  const hub = { ...given, signal: stop.signal };
  const total = files.reduce((sum, { size }) => sum + size, 0);
  const here = new Map<string, number>();
  const fetchOne = async (file: HubFile) => {
    const tell = (bytes: number) => {
      here.set(file.path, bytes);
      hub.onDownload?.({ file: file.path, done: [...here.values()].reduce((sum, n) => sum + n, 0), total });
    };
    const pointer = join(snapshotFolder(hub, commit), file.path);
    if ((await sizeOf(pointer)) !== file.size) {
      await point(pointer, await fetchBlob(hub, resolveUrl(hub, commit, file.path), file, tell));
    }
    here.set(file.path, file.size);
  };
  await forEachConcurrently(files, AT_ONCE, fetchOne, (error) => stop.abort(error));
}

function resolveUrl({ endpoint, name }: Hub, commit: string, path: string): string {
  const repo = `${name.type === 'dataset' ? 'datasets/' : ''}${name.repo}`;
  return `${endpoint}/${repo}/resolve/${commit}/${path.split('/').map(encodeURIComponent).join('/')}`;
}

/** Lets a snapshot's file be its blob; where links may not be made, a copy of it. */
async function point(pointer: string, blob: string): Promise<void> {
  await mkdir(dirname(pointer), { recursive: true });
  const fresh = `${pointer}.${randomUUID()}`;
  await symlink(relative(dirname(pointer), blob), fresh).catch(() => copyFile(blob, fresh));
  await rename(fresh, pointer);
}
