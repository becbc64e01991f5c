/** The keys of a message as data sets name them: of OpenAI and of ShareGPT. */
const KEY = '(?:role|content|from|value)';
/** A quote of JSON or Python; doubled in a CSV cell that was not unescaped; with backslashes in JSON inside JSON. */
const QUOTE = String.raw`\\*["']{1,2}`;

/** A list or object whose first key is one of a message: `[{'role': …`, `array([{"content": …`, `{"role": …`. */
const KEYED = new RegExp(
  String.raw`^[\s"']*(?:(?:array|list|tuple|deque|Series)?[([]\s*)*\{\s*${QUOTE}${KEY}${QUOTE}\s*:`,
);
/** Other forms of Python: `[Message(role='user', …`, `[OrderedDict([('role', 'user'), …`, `[ChatMessage(content=…`. */
const CALLED = new RegExp(
  String.raw`^[\s"']*(?:array\()?\[\s*\w+\(\s*(?:\[\s*\(\s*${QUOTE}${KEY}${QUOTE}\s*,|${KEY}=)`,
);
/** A role in any of these forms: `'role': 'user'`, `role='user'`, `('from', 'human')`. */
const ROLE =
  /\b(?:role|from)\b[\\"']*\s*[:=,]\s*[\\"']*(?:user|assistant|system|developer|tool|function|model|human|gpt|bot)\b/;
/** What JavaScript makes of objects. */
const OBJECTS = /^\s*\[object Object\](?:\s*,\s*\[object Object\])*\s*$/;

/**
 * Recognizes messages that became text, as a round trip through CSV or `str()` leaves them. A role and the key of a text
 * must be there, so that other JSON is none.
 *
 * @returns what the text is; undefined for other text
 */
export function messagesAsText(text: string): string | undefined {
  const start = text.slice(0, MAX_START);
  if (OBJECTS.test(start)) return 'objects that became the text [object Object]';
  if (!KEYED.test(start) && !CALLED.test(start)) return undefined;
  if (!ROLE.test(text) || !/\b(?:content|value)\b/.test(text)) return undefined;
  return 'a list of messages written as text';
}

/** White space and brackets before the first key. */
const MAX_START = 200;
