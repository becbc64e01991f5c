import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe } from '@wpo/internal/describe';
import { isTooLong, retryAfter } from '@wpo/internal/node/retry';
import { MODEL_FILE } from './files';
import { type Hub, type HubOptions, openHub } from './repository';
import { ATTEMPTS, AttemptError, HubError, hubError, reasonOf, withAttempts } from './request';

export interface UploadOptions extends Pick<HubOptions, 'retryDelay' | 'onWait' | 'signal'> {
  /** Whether a repository that is created is private. Default: as the owner’s settings say. One that exists stays as it is. */
  readonly isPrivate?: boolean | undefined;
  /** The title of the commit. Default `Upload model`. */
  readonly title?: string;
  /** Called after parts of files were sent, with the bytes of all files so far; bytes that the hub has already are not sent. */
  readonly onUpload?: (done: number, total: number) => void;
}

/** Where a model was uploaded to. */
export interface Uploaded {
  /** The page of the model. */
  readonly url: string;
  readonly files: readonly string[];
}

/**
 * Uploads the files of a model’s or an adapter’s folder, with its model card, as one commit to a repository on the Hugging Face
 * hub, which is created if it does not exist. Environment: `HF_TOKEN`, and `HF_ENDPOINT` for another hub.
 *
 * A failed request is repeated. Files that arrived before a failure are not sent again by the next upload.
 *
 * @param repo `org/name`, or `name` in the account of the token
 * @throws {HubError} saying what to do, if there is no token, it may not write there, or the hub cannot be reached
 */
export async function uploadModel(folder: string, repo: string, options: UploadOptions = {}): Promise<Uploaded> {
  const { hub, token, name } = await openRepository(repo, options);
  const { createRepo, uploadFiles, HubApiError } = await import('@huggingface/hub');
  const names = await modelFiles(folder);
  const sizes = await Promise.all(names.map(async (file) => (await stat(join(folder, file))).size));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  let done = 0;
  const send = retryingFetch(hub, (bytes) => {
    done = Math.min(total, done + bytes);
    options.onUpload?.(done, total);
  });
  const access = { repo: name, accessToken: token, hubUrl: hub.endpoint, fetch: send };
  const visibility = options.isPrivate === undefined ? {} : { private: options.isPrivate };
  try {
    await createRepo({ ...access, ...visibility }).catch((error: unknown) => {
      if (!(error instanceof HubApiError && error.statusCode === 409)) throw error; // it exists
    });
    await uploadFiles({
      ...access,
      files: names.map((path) => ({ path, content: pathToFileURL(join(folder, path)) })),
      commitTitle: options.title ?? 'Upload model',
      ...(options.signal && { abortSignal: options.signal }),
    });
  } catch (error) {
    options.signal?.throwIfAborted();
    throw error instanceof HubError ? error : uploadError(hub, error);
  }
  return { url: `${hub.endpoint}/${name}`, files: names };
}

/**
 * Checks that a later `uploadModel` has a token that the hub knows.
 *
 * @returns the repository’s name in full, `org/name`
 * @throws {HubError} as `uploadModel`
 */
export const checkUpload = async (repo: string, options: UploadOptions = {}): Promise<string> =>
  (await openRepository(repo, options)).name;

const NAME = /^(?:hf:\/\/)?(?:([\w.-]+)\/)?([\w.-]+)$/;

async function openRepository(repo: string, options: UploadOptions) {
  const [, owner, name] = NAME.exec(repo) ?? [];
  if (name === undefined || [owner, name].some((part) => part !== undefined && /^\.+$/.test(part))) {
    throw new HubError(`${JSON.stringify(repo.slice(0, 200))}: expected the name of a model on the hub, org/name.`);
  }
  const { whoAmI } = await import('@huggingface/hub');
  const open = (full: string) => openHub({ type: 'model', repo: full, revision: 'main', path: '' }, options);
  const hub = { ...(await open(`${owner ?? 'account'}/${name}`)), text: repo }; // the account is not known yet
  const { token } = hub;
  if (hub.offline) throw hubError(hub, 'nothing is uploaded while HF_HUB_OFFLINE is set. Unset it.');
  if (token === undefined) {
    throw hubError(hub, `expected a token in HF_TOKEN, found none. Make one with write access at ${tokens(hub)}.`);
  }
  if (!token.startsWith('hf_')) {
    throw hubError(
      hub,
      `HF_TOKEN: expected a token that begins with hf_, found another text. Copy it from ${tokens(hub)}.`,
    );
  }
  try {
    const user = await whoAmI({ accessToken: token, hubUrl: hub.endpoint, fetch: retryingFetch(hub) });
    const account: unknown = owner ?? user.name; // a server may say anything
    if (typeof account !== 'string' || !/^[\w.-]*\w[\w.-]*$/.test(account)) {
      throw hubError(
        hub,
        `expected the name of an account from ${hub.endpoint}, found ${describe(account)}. Check HF_ENDPOINT.`,
      );
    }
    const full = `${account}/${name}`;
    return { hub: await open(full), token, name: full };
  } catch (error) {
    options.signal?.throwIfAborted();
    throw error instanceof HubError ? error : uploadError(hub, error);
  }
}

const tokens = ({ endpoint }: Hub) => `${endpoint}/settings/tokens`;

/** Files that are not part of a loaded model, and are shown on its page, such as the images of the model card. */
const PAGE_FILE = /^(README\.md|LICENSE(\.\w+)?|NOTICE(\.\w+)?|training-\w+\.svg)$/;

/** The files of a model’s folder. @throws {HubError} if it has no weights, or is a checkpoint */
async function modelFiles(folder: string): Promise<string[]> {
  const all = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    throw new HubError(
      `${folder}: expected the folder of a model, found ${error.code === 'ENOENT' ? 'nothing' : error.message}.`,
    );
  });
  const names = all.filter((name) => MODEL_FILE.test(name) || PAGE_FILE.test(name)).sort();
  if (names.includes('optimizer.safetensors')) {
    throw new HubError(
      `${folder}: expected the folder of a model, found a checkpoint. Write its model first: wpo export.`,
    );
  }
  if (names.some((name) => name.endsWith('.safetensors'))) return names;
  const hint = all.includes('model') ? ` The folder of a run has it in ${join(folder, 'model')}.` : '';
  throw new HubError(`${folder}: expected the folder of a model with .safetensors files, found none.${hint}`);
}

/**
 * `fetch` that repeats a request if the hub is busy (408, 429, 5xx) or cannot be reached. Other replies are returned as they are.
 *
 * @param onSent receives the bytes of the parts of files that arrived
 */
function retryingFetch(hub: Hub, onSent: (bytes: number) => void = () => {}): typeof fetch {
  return async (input, init) => {
    const attempt = async () => {
      // the library passes no signal with requests of Xet
      const response = await fetch(input, { ...init, signal: hub.signal ?? null }).catch((error: unknown) => {
        hub.signal?.throwIfAborted();
        throw new AttemptError(reasonOf(error));
      });
      const failed = new AttemptError(`status ${response.status}`, response);
      if (failed.isRetryable) throw failed;
      return response;
    };
    try {
      const response = await withAttempts(hub, attempt);
      if (response.ok) onSent(sizeOf(init?.body));
      return response;
    } catch (error) {
      if (!(error instanceof AttemptError)) throw error;
      if (error.response !== undefined && !isTooLong(retryAfter(error.response.headers))) {
        throw hubError(
          hub,
          `the hub answered ${error.response.status} in ${ATTEMPTS} attempts. Try again later: ${RESUMES}`,
        );
      }
      const why = error.response === undefined ? `could not be reached (${error.message})` : 'asks for a long wait';
      throw hubError(
        hub,
        `${hub.endpoint} ${why}. Check the network, HF_ENDPOINT and proxies, and try again: ${RESUMES}`,
      );
    }
  };
}

const RESUMES = 'files that have arrived are not sent again.';

/** The bytes of a part of a file; 0 for JSON, which is text. */
const sizeOf = (body: unknown): number =>
  body instanceof Blob ? body.size : ArrayBuffer.isView(body) || body instanceof ArrayBuffer ? body.byteLength : 0;

/** An error of the library, with what to do. */
function uploadError(hub: Hub, error: unknown): HubError {
  const { message, statusCode } = error as Error & { readonly statusCode?: number };
  const { repo } = hub.name;
  if (statusCode === 401)
    return hubError(hub, `the hub does not accept HF_TOKEN (401). Make a new one at ${tokens(hub)}.`);
  if (statusCode === 403) {
    return hubError(
      hub,
      `HF_TOKEN may not write there (403). Use a token with write access, ${tokens(hub)}, or a repository of your own.`,
    );
  }
  if (statusCode === 404) {
    return hubError(hub, `there is no such account, or HF_TOKEN may not see it (404). Check ${repo.split('/')[0]}.`);
  }
  const detail = message.replace(/\. URL: .*$/s, '');
  return hubError(
    hub,
    `the upload failed${statusCode === undefined ? '' : ` (${statusCode})`}: ${detail}. Try again: ${RESUMES}`,
  );
}
