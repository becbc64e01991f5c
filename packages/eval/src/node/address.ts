import { EvaluationError } from '../errors';

/** A server's address, taken apart. */
export interface Address {
  /** Where OpenAI's paths begin, e.g. `http://localhost:8000/v1`. */
  readonly openai: string;
  /** Where the server's own paths begin, e.g. vLLM's `/pooling`: the same without `/v1`. */
  readonly root: string;
  /** `user:password` of the address, which stands in none of the others. */
  readonly credentials?: string;
}

/**
 * Reads a base URL as people give it: with `/v1` at the end or without.
 *
 * @throws {EvaluationError} where it is no http URL; a password in it is not repeated
 */
export function parseAddress(text: string): Address {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    throw new EvaluationError(
      `found the address ${JSON.stringify(text.replace(/\/\/.*@/, '//'))}, wanted one as http://localhost:8000/v1.`,
    );
  }
  const base = `${url.origin}${url.pathname}`.replace(/\/+$/, '');
  const versionless = base.replace(/\/v1$/, '');
  return {
    openai: base === url.origin ? `${base}/v1` : base,
    root: versionless,
    ...(url.username === '' ? {} : { credentials: decodeURIComponent(`${url.username}:${url.password}`) }),
  };
}
