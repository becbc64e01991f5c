import { printable } from '@wpo/internal/printable';
import {
  checkText,
  checkUnicode,
  describe,
  type Fields,
  fail,
  isFields,
  optionalField,
  optionalId,
  optionalNumber,
  ownField,
  RowError,
  type RowLocation,
} from './fields';
import { strip } from './python-strip';

/** One turn of a conversation. */
export interface Message {
  /** `user`, `assistant`, `system`, …: the chat template decides which roles it accepts. */
  readonly role: string;
  readonly content: string;
}

/** A preference pair as text: a conversation, and two answers to it. */
export interface PreferenceRow {
  /** The row's `id` or `prompt_id`, else `file:line`. */
  readonly id: string;
  /** The messages before the answer; at least one. */
  readonly context: readonly Message[];
  /** The better answer, unchanged; never only whitespace. */
  readonly chosen: string;
  /** The worse answer, unchanged; never only whitespace. May equal `chosen`. */
  readonly rejected: string;
  /** Multiplies the pair's loss; finite, at least 0; absent if the row has none. */
  readonly weight?: number;
  /** The row's `score_chosen` and `score_rejected`; absent unless the row has both. */
  readonly scores?: { readonly chosen: number; readonly rejected: number };
  /** Who wrote the answers: `source_chosen` and `source_rejected`, else `source` for both; absent unless both are text. */
  readonly sources?: { readonly chosen: string; readonly rejected: string };
  /** True if the prompt and both answers were strings, none of them a list of messages. */
  readonly plainText?: boolean;
  /** True if the row has no prompt, and the shared beginning of both answers was taken as one. */
  readonly sharedPrompt?: boolean;
  readonly at: RowLocation;
}

/**
 * Reads one preference row in the format of UltraFeedback-binarized and similar data sets:
 *
 * - `prompt`: text (one user message) or a list of `{role, content}`; optional if the answers are conversations;
 * - `chosen`, `rejected`: the answer as text; a single assistant message, in a list or not; the whole conversation, ending in
 *   the answer; or, if `prompt` is a list, the messages that follow it, starting with one of the assistant;
 * - `weight`, `score_chosen`, `score_rejected`: numbers; `id`, `prompt_id`: strings or numbers. All are optional, and null
 *   counts as absent;
 * - `source_chosen`, `source_rejected`, or `source` for both: strings; other values are ignored;
 * - `system` or `system_prompt`: text that is put before the first user message (see `withSystem`).
 *
 * Messages may also be `{from, value}`, as in ShareGPT, where `human` is the user and `gpt` the assistant.
 *
 * If both answers are whole conversations, a `prompt` string is not read, because the messages contain it. Both answers
 * must follow the same messages. Other columns are ignored. Equal answers are allowed (such a pair has no gradient);
 * empty answers and lone surrogates are not.
 *
 * @throws {RowError} naming file, line, field, what was expected, what was found, and how to fix it
 */
export function parseRow(value: unknown, at: RowLocation): PreferenceRow {
  if (!isFields(value)) {
    throw new RowError(at, {
      expected: 'an object with "prompt", "chosen" and "rejected"',
      found: describe(value),
      hint: 'Write each row as one JSON object.',
    });
  }
  const prompt = promptMessages(value, at);
  const chosen = parseSide(value, 'chosen', prompt, at);
  const rejected = parseSide(value, 'rejected', prompt, at);
  checkSameContext(chosen.context, rejected.context, at);

  const weight = optionalNumber(value, 'weight', at);
  if (weight !== undefined && weight < 0) {
    fail(at, {
      field: 'weight',
      expected: 'a number of at least 0',
      found: String(weight),
      hint: 'To reverse a preference, swap chosen and rejected.',
    });
  }
  const scoreChosen = optionalNumber(value, 'score_chosen', at);
  const scoreRejected = optionalNumber(value, 'score_rejected', at);
  const sourceChosen = optionalField(value, 'source_chosen') ?? optionalField(value, 'source');
  const sourceRejected = optionalField(value, 'source_rejected') ?? optionalField(value, 'source');
  const context = withSystem(chosen.context, value, at);
  const plainText = ['prompt', 'chosen', 'rejected'].every((name) => typeof ownField(value, name) === 'string');
  return {
    id: optionalId(value, 'id', at) ?? optionalId(value, 'prompt_id', at) ?? `${at.file}:${at.line}`,
    context,
    chosen: chosen.answer,
    rejected: rejected.answer,
    ...(weight === undefined ? {} : { weight }),
    ...(scoreChosen === undefined || scoreRejected === undefined
      ? {}
      : { scores: { chosen: scoreChosen, rejected: scoreRejected } }),
    ...(typeof sourceChosen === 'string' && typeof sourceRejected === 'string'
      ? { sources: { chosen: sourceChosen, rejected: sourceRejected } }
      : {}),
    ...(plainText ? { plainText } : {}),
    at,
  };
}

/** The messages of `prompt`; text becomes one user message. Undefined if the row has no prompt. */
function promptMessages(row: Fields, at: RowLocation): readonly Message[] | undefined {
  const value = optionalField(row, 'prompt');
  if (value === undefined) return undefined;
  if (typeof value === 'string') return [{ role: 'user', content: checkText(value, 'prompt', at) }];
  const messages = parseMessages(value, 'prompt', at);
  if (messages.at(-1)?.role === 'assistant') {
    fail(at, {
      field: `prompt[${messages.length - 1}].role`,
      expected: 'a message that the answers reply to',
      found: '"assistant"',
      hint: 'End the prompt with the user message; the assistant message after it is the answer.',
    });
  }
  return messages;
}

/**
 * The messages of a row's `prompt` with its `system` text. Undefined if the row has no prompt.
 *
 * @throws {RowError} if one of them is neither text nor, for the prompt, a list of messages
 */
export function readPrompt(row: Fields, at: RowLocation): readonly Message[] | undefined {
  const messages = promptMessages(row, at);
  return messages && withSystem(messages, row, at);
}

/** Columns of a text that is put before the first user message. */
const SYSTEM_COLUMNS = ['system', 'system_prompt'] as const;

/**
 * Puts the row's `system` text before the first user message: Gemma-2 has no system role, and Gemma-3's own chat template
 * joins the two in the same way. Nothing is added if the messages begin with this text already.
 */
function withSystem(messages: readonly Message[], row: Fields, at: RowLocation): readonly Message[] {
  const texts = SYSTEM_COLUMNS.map((name) => systemText(row, name, at)).filter((text) => strip(text) !== '');
  const system = [...new Set(texts)].join('\n\n');
  const start = Math.max(
    0,
    messages.findIndex(({ role }) => role === 'user'),
  );
  const isThere = ({ content }: Message) => `${strip(content)}\n`.startsWith(`${strip(system)}\n`);
  if (system === '' || messages.slice(0, start + 1).some(isThere)) return messages;
  const { role, content } = messages[start]!;
  return messages.with(start, { role, content: `${system}\n\n${content}` });
}

function systemText(row: Fields, name: string, at: RowLocation): string {
  const value = optionalField(row, name) ?? '';
  if (typeof value === 'string') return checkText(value, name, at);
  return fail(at, { field: name, expected: 'text', found: describe(value), hint: 'Write it as a string.' });
}

/** `chosen` or `rejected`: the messages before the answer, and the answer. */
interface Side {
  readonly context: readonly Message[];
  readonly answer: string;
}

function parseSide(
  row: Fields,
  name: 'chosen' | 'rejected',
  prompt: readonly Message[] | undefined,
  at: RowLocation,
): Side {
  const value = optionalField(row, name);
  if (value === undefined) {
    fail(at, {
      field: name,
      expected: 'an answer: text, or a list of {role, content}',
      found: 'nothing',
      hint: 'Give each row "prompt", "chosen" and "rejected".',
    });
  }
  if (typeof value === 'string') {
    if (prompt === undefined) {
      fail(at, {
        field: 'prompt',
        expected: `the text that "${name}" answers`,
        found: 'nothing',
        hint: 'Add "prompt", or write the answers as message lists that begin with the messages before them.',
      });
    }
    return { context: prompt, answer: checkAnswer(checkText(value, name, at), name, at) };
  }
  const messages = parseMessages(isFields(value) ? [value] : value, name, at);
  const last = messages.length - 1;
  const answer = messages[last]!;
  if (answer.role !== 'assistant') {
    fail(at, {
      field: `${name}[${last}].role`,
      expected: '"assistant" in the last message, the answer',
      found: printable(JSON.stringify(answer.role.slice(0, 40))),
      hint: 'End the list with the assistant message that was chosen or rejected.',
    });
  }
  const context = contextBefore(messages.slice(0, last), name, row, prompt, at);
  if (context.at(-1)?.role === 'assistant') {
    fail(at, {
      field: `${name}[${last}].role`,
      expected: 'an answer to another role',
      found: 'two assistant messages in a row',
      hint: 'Join the two messages into one, or restore the message between them.',
    });
  }
  return { context, answer: checkAnswer(answer.content, `${name}[${last}].content`, at) };
}

/** The messages before an answer, from those that its list begins with and the prompt. */
function contextBefore(
  before: readonly Message[],
  name: string,
  row: Fields,
  prompt: readonly Message[] | undefined,
  at: RowLocation,
): readonly Message[] {
  if (before.length === 0) {
    return (
      prompt ??
      fail(at, {
        field: name,
        expected: 'the messages that the answer replies to',
        found: 'a single assistant message and no "prompt"',
        hint: 'Add "prompt", or begin the list with the messages before the answer.',
      })
    );
  }
  // a prompt string beside a conversation repeats one of its messages
  if (prompt === undefined || typeof optionalField(row, 'prompt') === 'string') return before;
  if (firstDifference(before.slice(0, prompt.length), prompt) === undefined) return before;
  if (before[0]?.role === 'assistant') return [...prompt, ...before];
  return fail(at, {
    field: name,
    expected: 'a list that begins with the messages of "prompt", or with an assistant message that follows them',
    found: 'other messages than those of "prompt"',
    hint: 'Make "prompt" agree with the conversation, or leave "prompt" out.',
  });
}

function checkSameContext(chosen: readonly Message[], rejected: readonly Message[], at: RowLocation): void {
  const index = firstDifference(chosen, rejected);
  if (index === undefined) return;
  fail(at, {
    field: 'rejected',
    expected: 'the same messages before both answers',
    found: `a difference from "chosen" in message ${index + 1}`,
    hint: 'A pair compares two answers to one conversation: make the messages before the last equal.',
  });
}

/** Index of the first message that differs or that one list lacks; undefined if the lists are equal. */
function firstDifference(a: readonly Message[], b: readonly Message[]): number | undefined {
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    if (a[i]?.role !== b[i]?.role || a[i]?.content !== b[i]?.content) return i;
  }
  return undefined;
}

function parseMessages(value: unknown, name: string, at: RowLocation): readonly Message[] {
  if (!Array.isArray(value)) {
    fail(at, {
      field: name,
      expected: 'text or a list of {role, content}',
      found: describe(value),
      hint: 'Write the text itself, or a list of messages.',
    });
  }
  if (value.length === 0) {
    fail(at, {
      field: name,
      expected: 'at least one {role, content}',
      found: 'an empty list',
      hint: 'Fill it in, or drop the row.',
    });
  }
  return Array.from(value, (message: unknown, i) => {
    if (!isFields(message)) {
      fail(at, {
        field: `${name}[${i}]`,
        expected: '{role, content}',
        found: describe(message),
        hint: 'Write each message as an object with its role and its text.',
      });
    }
    const isShareGpt = !Object.hasOwn(message, 'role') && Object.hasOwn(message, 'from');
    const role = messageText(message, isShareGpt ? 'from' : 'role', name, i, at);
    const content = messageText(message, isShareGpt ? 'value' : 'content', name, i, at);
    return { role: isShareGpt ? (SHAREGPT_ROLES.get(role) ?? role) : role, content };
  });
}

/** The roles of ShareGPT that have other names. */
const SHAREGPT_ROLES: ReadonlyMap<string, string> = new Map([
  ['human', 'user'],
  ['gpt', 'assistant'],
]);

function messageText(message: Fields, key: string, name: string, i: number, at: RowLocation): string {
  const value = ownField(message, key);
  const field = `${name}[${i}].${key}`;
  if (typeof value !== 'string') {
    fail(at, {
      field,
      expected: 'text',
      found: describe(value),
      hint: Array.isArray(value) ? 'Join the parts into one string.' : 'Write it as a string.',
    });
  }
  return checkUnicode(value, field, at);
}

function checkAnswer(text: string, field: string, at: RowLocation): string {
  if (strip(text) === '') {
    fail(at, {
      field,
      expected: 'an answer with text',
      found: text === '' ? 'an empty answer' : 'only whitespace',
      hint: 'Fill it in, or drop the row (bad rows can be skipped and counted).',
    });
  }
  return checkUnicode(text, field, at);
}
