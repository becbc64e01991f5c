// A repository on the Hugging Face hub: its name, and how to reach it.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { printable } from '@wpo/internal/printable';
import { isDataFile } from '../rows/splits';

/** Names a repository, or a part of it. */
export interface HubName {
  readonly type: 'model' | 'dataset';
  /** `org/name`. */
  readonly repo: string;
  /** A branch, a tag or a commit. */
  readonly revision: string;
  /** A file, folder or glob in the repository; empty for all of it. */
  readonly path: string;
}

const NAME = /^hf:\/\/(datasets\/)?([\w.-]+\/[\w.-]+)(?:@(refs\/(?:convert|pr)\/[^/]+|[^/]+))?(?:\/(.*))?$/;
const BARE = /^\w[\w.-]*\/\w[\w.-]*$/;

/** The name in full: `hf://datasets/org/name@revision/path`, without the revision if it is `main`. */
export const hubNameText = ({ type, repo, revision, path }: HubName) =>
  `hf://${type === 'dataset' ? 'datasets/' : ''}${repo}` +
  `${revision === 'main' ? '' : `@${/^refs\/(convert|pr)\/[^/]+$/.test(revision) ? revision : encodeURIComponent(revision)}`}` +
  `${path === '' ? '' : `/${path}`}`;

/**
 * The data set that a source names: `hf://datasets/org/name[@revision][/path]`, or `org/name` if there is no such local
 * file or folder. Undefined for a path.
 *
 * @throws {Error} if the name is malformed, or names a model
 */
export const dataSetName = (source: string): HubName | undefined =>
  source.startsWith('hf://') ? parseName(source, 'dataset') : parseBareName(source, 'dataset');

/** As `dataSetName`, for a model: `hf://org/name[@revision]`, or `org/name` if there is no such local folder. */
export const modelName = (source: string): HubName | undefined =>
  source.startsWith('hf://') ? parseName(source, 'model') : parseBareName(source, 'model');

function parseBareName(source: string, type: HubName['type']): HubName | undefined {
  if (!BARE.test(source) || isDataFile(source) || existsSync(source)) return undefined;
  return { type, repo: source, revision: 'main', path: '' };
}

function parseName(source: string, type: HubName['type']): HubName {
  const [matches, dataSets, repo = '', encoded = 'main', path = ''] = NAME.exec(source) ?? [];
  const revision = decode(encoded);
  const isInside = `${repo}/${path}`.replace(/\/$/, '').split('/').every(isSafeSegment);
  if (matches === undefined || (dataSets === undefined) !== (type === 'model') || !isInside) {
    throw new Error(
      type === 'model'
        ? `${printable(source, 200)}: expected the name of a model, hf://org/name.`
        : `${printable(source, 200)}: expected the name of a data set, hf://datasets/org/name[@revision][/path].`,
    );
  }
  if (revision === undefined || !revision.split('/').every(isSafeSegment)) {
    throw new Error(
      `${printable(source, 200)}: expected a branch, tag or commit after @, found ${printable(JSON.stringify(revision ?? encoded), 100)}. ` +
        'Write a slash in its name as %2F.',
    );
  }
  return { type, repo, revision, path: path.replace(/\/$/, '') };
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined; // a % without two digits
  }
}

/** The longest name of a file on the usual file systems, in bytes. */
const MAX_NAME = 255;

/**
 * Whether a part of a path that a user or a server gave stays in its folder: it is neither empty nor `.` nor `..`, and has
 * no separator or control character. Call it with decoded text.
 */
export const isSafeSegment = (segment: string): boolean =>
  !/^\.{0,2}$/.test(segment) && !/[\p{Cc}\p{Cs}/\\]/u.test(segment) && Buffer.byteLength(segment) <= MAX_NAME;

/** Progress of a download from the hub. */
export interface DownloadProgress {
  /** Path, in its repository, of the file whose bytes arrived. */
  readonly file: string;
  /** Downloaded bytes of all files. */
  readonly done: number;
  /** Bytes of all files. */
  readonly total: number;
}

export interface HubOptions {
  /** Called as bytes of a download arrive. */
  readonly onDownload?: (progress: DownloadProgress) => void;
  /** Milliseconds before the first retry; each further retry waits twice as long. Default 500. */
  readonly retryDelay?: number;
  /**
   * Milliseconds after which a request is tried again: if no reply has begun, or if less than 10 kB of it arrived in this
   * time. Default 60,000.
   */
  readonly timeout?: number;
  /** Called before a wait of more than 5 seconds, such as one that the hub asks for. */
  readonly onWait?: (milliseconds: number) => void;
  /** Once aborted, the download, or the reading of rows, stops with the signal's reason. The next download resumes it. */
  readonly signal?: AbortSignal;
}

/** A repository, the endpoint from which its files are downloaded, and their folder in the cache. */
export interface Hub extends HubOptions {
  readonly name: HubName;
  /** The name in full, for messages. */
  readonly text: string;
  readonly endpoint: string;
  /** Sent to the endpoint only; never part of a message. */
  readonly token: string | undefined;
  /** Use the cache only, without any request. */
  readonly offline: boolean;
  /** The repository's folder in the cache: `blobs/`, `refs/` and `snapshots/`, in the layout of Python's huggingface_hub. */
  readonly folder: string;
}

const PUBLIC_ENDPOINT = 'https://huggingface.co';

/**
 * Reads the environment variables `HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE`, and for the cache `HF_HUB_CACHE`, else
 * `hub` in `HF_HOME`.
 *
 * @throws {Error} naming a variable that cannot be used; the value of `HF_TOKEN` is never shown
 */
export async function openHub(name: HubName, options: HubOptions): Promise<Hub> {
  const { getHFHubCachePath } = await import('@huggingface/hub');
  const { HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE } = process.env;
  const kind = name.type === 'dataset' ? 'datasets' : 'models';
  return {
    ...options,
    name,
    text: hubNameText(name),
    endpoint: checkEndpoint(HF_ENDPOINT?.trim() || PUBLIC_ENDPOINT),
    token: checkToken(HF_TOKEN?.trim() ?? ''),
    offline: /^(1|on|yes|true)$/i.test(HF_HUB_OFFLINE?.trim() ?? ''),
    folder: join(getHFHubCachePath(), [kind, ...name.repo.split('/')].join('--')),
  };
}

function checkEndpoint(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '') {
    throw new Error(
      'HF_ENDPOINT: expected the URL of the hub or a mirror, without user name and password, e.g. https://mirror.example.',
    );
  }
  return `${url.origin}${url.pathname}`.replace(/\/+$/, '');
}

function checkToken(text: string): string | undefined {
  if (/[^\x21-\x7e]/.test(text)) {
    throw new Error('HF_TOKEN: expected a token, found characters that no token contains. Copy it again.');
  }
  return text === '' ? undefined : text;
}
