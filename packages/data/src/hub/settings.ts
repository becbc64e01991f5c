import { join } from 'node:path';
import { type HubName, hubNameText } from './name';

/** How far a download from the hub is. */
export interface DownloadProgress {
  /** The file in its repository. */
  readonly file: string;
  /** Bytes of all files of this fetch that are here. */
  readonly done: number;
  readonly total: number;
}

export interface HubOptions {
  /** Called as bytes of a download come in. */
  readonly onDownload?: (progress: DownloadProgress) => void;
  /** Milliseconds before the first retry; each further one waits twice as long. Default 500. */
  readonly retryDelay?: number;
}

/** Where a repository's files come from and go to. */
export interface Hub extends HubOptions {
  readonly name: HubName;
  /** The name in full, for messages. */
  readonly text: string;
  readonly endpoint: string;
  /** Sent to the endpoint alone; never told. */
  readonly token: string | undefined;
  /** Take what the cache has and ask nobody. */
  readonly offline: boolean;
  /** Ends what is under way. */
  readonly signal?: AbortSignal;
  /** The repository's folder in the cache: `blobs/`, `refs/` and `snapshots/`, as Python's huggingface_hub has them. */
  readonly folder: string;
}

const PUBLIC_ENDPOINT = 'https://huggingface.co';

/**
 * Reads `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`, and where the cache lies: `HF_HUB_CACHE`, else `hub` in `HF_HOME`.
 *
 * @throws {Error} naming the variable that cannot be used, never its value where that is secret
 */
export async function openHub(name: HubName, options: HubOptions): Promise<Hub> {
  const { getHFHubCachePath } = await import('@huggingface/hub');
  const { HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE } = process.env;
  const kind = name.type === 'dataset' ? 'datasets' : 'models';
  return {
    ...options,
    name,
    text: hubNameText(name),
    endpoint: endpointOf(HF_ENDPOINT?.trim() || PUBLIC_ENDPOINT),
    token: tokenOf(HF_TOKEN?.trim() ?? ''),
    offline: /^(1|on|yes|true)$/i.test(HF_HUB_OFFLINE?.trim() ?? ''),
    folder: join(getHFHubCachePath(), [kind, ...name.repo.split('/')].join('--')),
  };
}

function endpointOf(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '') {
    throw new Error('HF_ENDPOINT: wanted the hub’s address, e.g. https://mirror.example, without user and password.');
  }
  return `${url.origin}${url.pathname}`.replace(/\/+$/, '');
}

function tokenOf(text: string): string | undefined {
  if (/[^\x21-\x7e]/.test(text)) throw new Error('HF_TOKEN: found characters that no token has. Copy it again.');
  return text === '' ? undefined : text;
}
