import { strip } from './python-strip';
import { type Place, RowError, type RowFault } from './row-error';

/** One turn of a conversation. */
export interface Message {
  /** `user`, `assistant`, `system`, …: the chat template decides which it takes. */
  readonly role: string;
  readonly content: string;
}

/** A preference pair as text: a conversation, and two answers to it. */
export interface PreferenceRow {
  /** The row's `id` or `prompt_id`, else `file:line`. */
  readonly id: string;
  /** The turns before the answer; at least one. */
  readonly context: readonly Message[];
  /** The better answer, as the file has it; never only whitespace. */
  readonly chosen: string;
  /** The worse answer, as the file has it; never only whitespace. May equal `chosen`. */
  readonly rejected: string;
  /** Multiplies the pair's weight; finite, at least 0; absent where the row has none. */
  readonly weight?: number;
  /** The row's `score_chosen` and `score_rejected`; absent unless the row has both. */
  readonly scores?: { readonly chosen: number; readonly rejected: number };
  /** Who wrote the answers: `source_chosen` and `source_rejected`, else `source` for both; absent unless texts. */
  readonly sources?: { readonly chosen: string; readonly rejected: string };
  /** True where the prompt and both answers were text, none of them a list of messages. */
  readonly plainText?: boolean;
  /** Where the row lies. */
  readonly at: Place;
}

/** A row's columns by name. */
export type Fields = Readonly<Record<string, unknown>>;

/** One side of a row: the turns before the answer, and the answer. */
interface Side {
  readonly context: readonly Message[];
  readonly answer: string;
}

/**
 * Reads one preference row, as UltraFeedback and its kin lay them out:
 *
 * - `prompt`: a string (one user turn) or a list of `{role, content}`; may be absent where the answers are conversations;
 * - `chosen`, `rejected`: the answer as a string; a lone assistant turn; the whole conversation, ending in the answer;
 *   or, where `prompt` is a list, the turns that follow it, beginning with an assistant's;
 * - `weight`, `score_chosen`, `score_rejected`: numbers; `id`, `prompt_id`: strings or numbers. All optional, and null
 *   counts as absent;
 * - `source_chosen`, `source_rejected`, or `source` for both: strings, passed over where they are not.
 *
 * Where both answers are whole conversations a `prompt` string is not read: the turns say more. Both answers must
 * follow the same turns. Other columns are ignored. Equal answers are allowed (such a pair has no gradient); empty
 * answers and lone surrogates, which no file of UTF-8 text can hold, are not.
 *
 * @throws {RowError} naming file, line, field, what was found, what was wanted and the mend
 */
export function parseRow(value: unknown, at: Place): PreferenceRow {
  if (!isFields(value)) {
    throw new RowError(at, {
      found: describe(value),
      wanted: 'an object with "prompt", "chosen" and "rejected"',
      mend: 'Write each row as one JSON object.',
    });
  }
  const prompt = promptTurns(value, at);
  const chosen = side(value, 'chosen', prompt, at);
  const rejected = side(value, 'rejected', prompt, at);
  sameContext(chosen.context, rejected.context, at);

  const weight = optionalNumber(value, 'weight', at);
  if (weight !== undefined && weight < 0) {
    fail(at, {
      field: 'weight',
      found: String(weight),
      wanted: 'a number of at least 0',
      mend: 'To turn a preference round, swap chosen and rejected instead.',
    });
  }
  const scoreChosen = optionalNumber(value, 'score_chosen', at);
  const scoreRejected = optionalNumber(value, 'score_rejected', at);
  const sourceChosen = field(value, 'source_chosen') ?? field(value, 'source');
  const sourceRejected = field(value, 'source_rejected') ?? field(value, 'source');
  return {
    id: optionalName(value, 'id', at) ?? optionalName(value, 'prompt_id', at) ?? `${at.file}:${at.line}`,
    context: chosen.context,
    chosen: chosen.answer,
    rejected: rejected.answer,
    ...(weight === undefined ? {} : { weight }),
    ...(scoreChosen === undefined || scoreRejected === undefined
      ? {}
      : { scores: { chosen: scoreChosen, rejected: scoreRejected } }),
    ...(typeof sourceChosen === 'string' && typeof sourceRejected === 'string'
      ? { sources: { chosen: sourceChosen, rejected: sourceRejected } }
      : {}),
    ...(['prompt', 'chosen', 'rejected'].every((name) => typeof own(value, name) === 'string')
      ? { plainText: true }
      : {}),
    at,
  };
}

/**
 * Reads one row from its JSON text, e.g. a line of a JSONL file.
 *
 * @throws {RowError} where the text is not JSON, or as `parseRow` does
 */
export function parseRowText(text: string, at: Place): PreferenceRow {
  return parseRow(parseJson(text, at), at);
}

/**
 * Reads the JSON text of one row.
 *
 * @throws {RowError} where the text is not JSON
 */
export function parseJson(text: string, at: Place): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new RowError(
      at,
      {
        found: `text that is not JSON (${error instanceof Error ? error.message : String(error)})`,
        wanted: 'one JSON object',
        mend: jsonMend(text),
      },
      { cause: error },
    );
  }
}

function jsonMend(text: string): string {
  if (text.startsWith('\ufeff')) return 'A byte-order mark stands in front, as where files were joined: remove it.';
  if (/\b(NaN|Infinity)\b/.test(text)) return 'JSON has no NaN or Infinity: write null, or leave the field out.';
  return 'Write each row as one complete JSON object: a whole line of JSONL, or one element of a JSON array.';
}

export function promptTurns(row: Fields, at: Place): readonly Message[] | undefined {
  const value = field(row, 'prompt');
  if (value === undefined) return undefined;
  if (typeof value === 'string') return [{ role: 'user', content: wellFormed(value, 'prompt', at) }];
  const turns = messages(value, 'prompt', at);
  if (turns.at(-1)?.role === 'assistant') {
    fail(at, {
      field: `prompt[${turns.length - 1}].role`,
      found: '"assistant"',
      wanted: 'a turn that the answers answer',
      mend: 'End the prompt with the user turn; the assistant turn after it is the answer.',
    });
  }
  return turns;
}

function side(row: Fields, name: 'chosen' | 'rejected', prompt: readonly Message[] | undefined, at: Place): Side {
  const value = field(row, name);
  if (value === undefined) {
    fail(at, {
      field: name,
      found: 'nothing',
      wanted: 'an answer: text, or a list of {role, content}',
      mend: 'Give each row "prompt", "chosen" and "rejected".',
    });
  }
  if (typeof value === 'string') {
    if (prompt === undefined) {
      fail(at, {
        field: 'prompt',
        found: 'nothing',
        wanted: `the text that "${name}" answers`,
        mend: 'Add "prompt", or give the answers as message lists with the turns before them.',
      });
    }
    return { context: prompt, answer: answerText(value, name, at) };
  }
  const turns = messages(value, name, at);
  const last = turns.length - 1;
  const answer = turns[last]!;
  if (answer.role !== 'assistant') {
    fail(at, {
      field: `${name}[${last}].role`,
      found: JSON.stringify(answer.role),
      wanted: '"assistant" as the last turn: the answer',
      mend: 'End the list with the assistant turn that is preferred or not.',
    });
  }
  const context = contextBefore(turns.slice(0, last), name, row, prompt, at);
  if (context.at(-1)?.role === 'assistant') {
    fail(at, {
      field: `${name}[${last}].role`,
      found: 'two assistant turns in a row',
      wanted: 'an answer to another role',
      mend: 'Join the two turns into one, or put the turn between them back.',
    });
  }
  return { context, answer: answerText(answer.content, `${name}[${last}].content`, at) };
}

/** The turns before the answer, from those that the answer's list has in front and the prompt. */
function contextBefore(
  before: readonly Message[],
  name: string,
  row: Fields,
  prompt: readonly Message[] | undefined,
  at: Place,
): readonly Message[] {
  if (before.length === 0) {
    return (
      prompt ??
      fail(at, {
        field: name,
        found: 'a lone assistant turn and no "prompt"',
        wanted: 'the turns that it answers',
        mend: 'Add "prompt", or put the turns before the answer in front of it.',
      })
    );
  }
  // a prompt string beside a conversation repeats one of its turns: the conversation is whole already
  if (prompt === undefined || typeof field(row, 'prompt') === 'string') return before;
  if (firstDifference(before.slice(0, prompt.length), prompt) === undefined) return before;
  if (before[0]?.role === 'assistant') return [...prompt, ...before];
  return fail(at, {
    field: name,
    found: 'turns that are not those of "prompt"',
    wanted: 'the prompt’s turns in front, or the turns that follow it, an assistant’s first',
    mend: 'Make "prompt" agree with the conversation, or leave "prompt" out.',
  });
}

function sameContext(chosen: readonly Message[], rejected: readonly Message[], at: Place): void {
  const turn = firstDifference(chosen, rejected);
  if (turn === undefined) return;
  fail(at, {
    field: 'rejected',
    found: `turn ${turn + 1} before the answer unlike that of "chosen"`,
    wanted: 'the same turns before both answers',
    mend: 'A pair compares two answers to one conversation: make the turns before the last equal.',
  });
}

/** Index of the first turn that differs (or that one list lacks); undefined where the lists are equal. */
function firstDifference(a: readonly Message[], b: readonly Message[]): number | undefined {
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    if (a[i]?.role !== b[i]?.role || a[i]?.content !== b[i]?.content) return i;
  }
  return undefined;
}

function messages(value: unknown, name: string, at: Place): readonly Message[] {
  if (!Array.isArray(value)) {
    fail(at, {
      field: name,
      found: describe(value),
      wanted: 'text or a list of {role, content}',
      mend: 'Write the text itself, or its turns as a list of messages.',
    });
  }
  if (value.length === 0) {
    fail(at, {
      field: name,
      found: 'an empty list',
      wanted: 'at least one {role, content}',
      mend: 'Fill it, or drop the row.',
    });
  }
  return Array.from(value, (turn: unknown, i) => {
    if (!isFields(turn)) {
      fail(at, {
        field: `${name}[${i}]`,
        found: describe(turn),
        wanted: '{role, content}',
        mend: 'Write each turn as an object with its role and its text.',
      });
    }
    return { role: turnText(turn, 'role', name, i, at), content: turnText(turn, 'content', name, i, at) };
  });
}

function turnText(turn: Fields, key: 'role' | 'content', name: string, i: number, at: Place): string {
  const value = own(turn, key);
  const path = `${name}[${i}].${key}`;
  if (typeof value !== 'string') {
    fail(at, {
      field: path,
      found: describe(value),
      wanted: 'text',
      mend: Array.isArray(value) ? 'Join the parts into one string.' : 'Write it as a string.',
    });
  }
  return wellFormed(value, path, at);
}

function answerText(value: string, path: string, at: Place): string {
  if (strip(value) === '') {
    fail(at, {
      field: path,
      found: value === '' ? 'an empty answer' : 'an answer of whitespace alone',
      wanted: 'text to score',
      mend: 'Fill it in, or drop the row (bad rows can be skipped and counted).',
    });
  }
  return wellFormed(value, path, at);
}

export function wellFormed(text: string, path: string, at: Place): string {
  const found = /\p{Surrogate}/u.exec(text); // with the u flag, lone ones only
  if (found !== null) {
    const code = found[0].charCodeAt(0).toString(16);
    fail(at, {
      field: path,
      found: `a lone surrogate \\u${code} at character ${found.index}`,
      wanted: 'text that UTF-8 can hold',
      mend: 'Half of a two-part character is left, mostly by cutting text in the middle of an emoji: mend or remove it.',
    });
  }
  return text;
}

export function optionalNumber(row: Fields, name: string, at: Place): number | undefined {
  const value = field(row, name);
  if (value === undefined) return undefined;
  if (typeof value !== 'number' || !Number.isFinite(value)) {
    fail(at, {
      field: name,
      found: describe(value),
      wanted: 'a finite number',
      mend: 'Write it as a number without quotes, or leave it out.',
    });
  }
  return value;
}

export function optionalName(row: Fields, name: string, at: Place): string | undefined {
  const value = field(row, name);
  if (value === undefined || value === '') return undefined;
  if (typeof value === 'string') return wellFormed(value, name, at);
  if (typeof value === 'number') return String(value);
  return fail(at, {
    field: name,
    found: describe(value),
    wanted: 'a string or a number',
    mend: 'Write it so, or leave it out.',
  });
}

/** An optional field; null counts as absent. */
export function field(row: Fields, name: string): unknown {
  return own(row, name) ?? undefined;
}

export function own(row: Fields, name: string): unknown {
  return Object.hasOwn(row, name) ? row[name] : undefined;
}

export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function describe(value: unknown): string {
  if (value === null) return 'null';
  if (value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  switch (typeof value) {
    case 'string':
      return `the text ${JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value)}`;
    case 'number':
      return `the number ${value}`;
    case 'boolean':
      return String(value);
    case 'object':
      return 'an object';
    default:
      return `a ${typeof value}`;
  }
}

export function fail(at: Place, fault: RowFault): never {
  throw new RowError(at, fault);
}
