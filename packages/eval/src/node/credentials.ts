// What identifies the user to a server, and must be shown nowhere: keys, passwords and headers.
import { redact } from '@wpo/internal/node/redact';
import { printable } from '@wpo/internal/printable';
import { EvaluationError } from '../errors';

/** The key of the environment. */
export const apiKey = () => (process.env.WPO_API_KEY || process.env.OPENAI_API_KEY)?.trim() || undefined;

/** @throws {EvaluationError} if the key has characters that no key has */
export function authorization(key: string | undefined, credentials: string | undefined): Record<string, string> {
  if (credentials !== undefined) return { authorization: `Basic ${Buffer.from(credentials).toString('base64')}` };
  if (key === undefined) return {};
  if (/^[\x21-\x7e]+$/.test(key)) return { authorization: `Bearer ${key}` };
  throw new EvaluationError(
    'API key in the environment: expected visible ASCII characters only, found others. Set WPO_API_KEY again.',
  );
}

/** Headers that fetch sets, and does not accept. */
const OWN_HEADERS =
  /^(?:connection|content-length|content-type|expect|host|keep-alive|te|trailer|transfer-encoding|upgrade)$/;

/** @throws {EvaluationError} for a header that cannot be sent; the error does not show its value */
export function checkHeaders(given: Readonly<Record<string, string>> = {}): Record<string, string> {
  return Object.fromEntries(
    Object.entries(given).map(([name, value]) => {
      if (!/^[\w!#$%&'*+.^`|~-]+$/.test(name) || OWN_HEADERS.test(name.toLowerCase())) {
        const found = printable(name, 60);
        throw new EvaluationError(
          `headers: expected the name of a header that can be set, found "${found}". Remove it.`,
        );
      }
      if (!/^[\x20-\x7e]*$/.test(value)) {
        throw new EvaluationError(
          `headers: ${name}: expected visible ASCII characters only, found others. Correct it.`,
        );
      }
      return [name.toLowerCase(), value];
    }),
  );
}

interface SecretSources {
  readonly key: string | undefined;
  readonly credentials: string | undefined;
  readonly query: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** Hides secrets in texts. */
export interface Secrets {
  /** For errors: hides every secret. */
  readonly hide: (text: string) => string;
  /** For answers: hides only secrets that are no common word. */
  readonly hideInReplies: (text: string) => string;
}

/** What must not be shown: the key, the credentials and password, and longer values of headers and the query. */
export function secretsOf({ key, credentials, query, headers }: SecretSources): Secrets {
  const parameters = [...new URLSearchParams(query)].filter(([name]) => name !== 'api-version');
  const values = [...parameters.map(([, value]) => value), ...Object.values(headers)];
  const password = credentials?.slice(credentials.indexOf(':') + 1);
  const tokens = values.map((value) => value.replace(/^(?:Bearer|Basic) /i, '')).filter(({ length }) => length >= 6);
  const secrets = [...new Set([key ?? '', credentials ?? '', password ?? '', ...tokens])].filter((one) => one !== '');
  const distinctive = [...secrets.filter(isDistinctive), Buffer.from(credentials ?? '').toString('base64')];
  return { hide: (text) => redact(text, secrets), hideInReplies: (text) => redact(text, distinctive) };
}

/** Words that stand for a key where a server needs none. */
const PLACEHOLDERS = ['lm-studio', 'not-needed', 'sk-no-key-required', 'no-key-required', 'no-key-needed'];

/** Whether a secret is no common word, so that it can be taken out of answers too. */
const isDistinctive = (secret: string) =>
  secret.length >= 8 && !/^[a-z]+$/i.test(secret) && !PLACEHOLDERS.includes(secret.toLowerCase());
