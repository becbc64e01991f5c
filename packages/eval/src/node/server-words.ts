// What a server says about a request that it refuses, and which field of the request it refuses.

/** Of a longer text the end is not looked at. */
const MAX_WORDS = 4000;

/** The message in the body of an error, in the forms of OpenAI, vLLM, FastAPI, Google and OpenRouter; else the whole body. */
export function serverWords(body: string): string {
  const words = messageIn(parseJson(body)) ?? body;
  return words.slice(0, MAX_WORDS).replace(/\s+/g, ' ').trim();
}

/** The error in a body that has no result, as some proxies send it with status 200. Undefined if there is none. */
export function errorIn(reply: unknown): { readonly code: number | undefined } | undefined {
  const { error, choices, data } = asObject(reply);
  if (error === undefined || error === null || error === false || choices || data) return undefined;
  const { code, status } = asObject(error);
  const numbers = [code, status].map((value) => (isText(value) ? Number(value) : value));
  return { code: numbers.find(isErrorStatus) };
}

const isErrorStatus = (value: unknown): value is number =>
  Number.isInteger(value) && (value as number) >= 400 && (value as number) < 600;

function messageIn(reply: unknown): string | undefined {
  const { error, message, detail, errors } = asObject(Array.isArray(reply) ? reply[0] : reply);
  const { message: inner, metadata } = asObject(error);
  const { raw } = asObject(metadata); // what the provider behind a router said
  const found = [error, inner, message, detail, detailsIn(inner ?? detail ?? message ?? errors)].find(isText);
  return isText(raw) ? `${found ?? ''} ${raw}` : found;
}

const isText = (value: unknown): value is string => typeof value === 'string' && value.trim() !== '';

/** The problems that FastAPI lists as `{loc, msg}`. Their `input` is left out: it repeats the request. */
function detailsIn(list: unknown): string | undefined {
  if (!Array.isArray(list)) return undefined;
  const texts = list.slice(0, 5).flatMap((item) => {
    const { loc, msg, message } = asObject(item);
    const text = [msg, message, item].find(isText);
    const place = Array.isArray(loc) ? loc.filter((part) => typeof part === 'string' && part !== 'body').join('.') : '';
    return text === undefined ? [] : [place === '' ? text : `${place}: ${text}`];
  });
  return texts.length === 0 ? undefined : texts.join('; ');
}

const asObject = (value: unknown): Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Phrases of servers that do not accept a field, or not its value. */
const REFUSAL = new RegExp(
  [
    String.raw`\bnot[\s_]+(?:\w+\s+)?(?:support|allow|permit|accept|enabl|recogni|a valid (?:parameter|argument|field))`,
    "n[’']t (?:support|allow|accept)",
    'unsupported|unrecogni[sz]ed|unknown|unexpected|extra[_ ](?:inputs|forbidden|fields)|deprecated|disabled',
    'invalid (?:argument|parameter|field|name)|cannot both|only the default|please remove',
  ].join('|'),
  'i',
);

/** Phrases of servers that accept no temperature of 0. */
const POSITIVE_ONLY = /positive|(?:greater|larger|higher|more|bigger) than (?:0|zero)|> ?0|above (?:0|zero)|non-?zero/i;

/**
 * The field of a request that a server refuses, because it does not know it or does not accept its value at all.
 * Undefined if the server refuses the request for another reason, e.g. because the prompt is too long.
 *
 * @param body of the error
 * @param request the fields that were sent
 */
export function refusedField(body: string, request: Readonly<Record<string, unknown>>): string | undefined {
  const words = serverWords(body);
  if (request.temperature === 0 && /temperature/i.test(words) && POSITIVE_ONLY.test(words)) return 'temperature';
  const { param, code } = asObject(asObject(parseJson(body)).error);
  if (!REFUSAL.test(`${words} ${isText(code) ? code : ''}`)) return undefined;
  return isText(param) && request[param] !== undefined ? param : namedField(words, request);
}

/** The field of a request that a server names first in its words, if any. */
export function namedField(words: string, request: Readonly<Record<string, unknown>>): string | undefined {
  const named = Object.keys(request)
    .filter((field) => request[field] !== undefined && field !== 'model' && field !== 'messages')
    .map((field) => ({ field, at: words.search(mentionOf(field)) }))
    .filter(({ at }) => at >= 0)
    .sort((a, b) => a.at - b.at)
    .map(({ field }) => field);
  // the answers depend less on top_p than on the temperature
  if (/\bboth\b/i.test(words) && named.includes('temperature') && named.includes('top_p')) return 'top_p';
  return named[0];
}

/** Finds a field's name as a word, also as `topP`. */
const mentionOf = (field: string) =>
  new RegExp(`(?<![a-z0-9_])${field.split('_').map(escapeRegExp).join('_?')}(?![a-z0-9_])`, 'i');

const escapeRegExp = (text: string) => text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
