import { printableAddress } from '@wpo/internal/node/redact';
import { EvaluationError } from '../errors';

/** The parts of a server's address. None but `credentials` contains the user name and password. */
export interface ServerAddress {
  /** Base of OpenAI's paths, e.g. `http://localhost:8000/v1`. */
  readonly openai: string;
  /** Base of the server's own paths, such as vLLM's `/pooling`: the same without `/v1`. */
  readonly root: string;
  /** The query, e.g. `?api-version=2024-10-21`, which goes after each path; else empty. */
  readonly query: string;
  /** `user:password` from the address. */
  readonly credentials?: string;
}

/**
 * Parses a base URL. `/v1` is added, unless the path has a version already (`/v1`, `/v1beta/openai`, `/api/v3`), is one of
 * Azure's deployments, or ends in `/chat/completions`, which names the base exactly.
 *
 * @throws {EvaluationError} if it is not an http URL; the error shows no password, query or fragment
 */
export function parseAddress(text: string): ServerAddress {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    throw new EvaluationError(
      `server address: expected an http or https URL, found "${printableAddress(text)}". Write it like ` +
        'http://localhost:8000/v1.',
    );
  }
  const base = `${url.origin}${url.pathname}`.replace(/\/+$/, '');
  const exact = base.replace(/\/chat\/completions$/, '');
  const isComplete = exact !== base || /\/v\d[^/]*(\/|$)|\/deployments\//.test(url.pathname);
  const openai = isComplete ? exact : `${base}/v1`;
  const credentials = `${decode(url.username)}:${decode(url.password)}`;
  return {
    openai,
    root: openai.replace(/\/v1$/, ''),
    query: url.search,
    ...(credentials === ':' ? {} : { credentials }),
  };
}

/** Decodes a part of an address. Text with a stray percent sign stays as it is. */
function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
