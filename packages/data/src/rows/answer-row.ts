import {
  checkText,
  describe,
  type Fields,
  fail,
  isFields,
  optionalField,
  optionalId,
  optionalInteger,
  ownField,
  type RowLocation,
} from './fields';
import { type Message, readPrompt } from './preference-row';
import { strip } from './python-strip';

/** A row with a prompt. */
export interface PromptRow {
  /** Absent if the row has none. */
  readonly id?: string;
  /** Text, which is one user message, or a list of messages; with the row's `system` text. */
  readonly prompt: string | readonly Message[];
  /** The same as messages. */
  readonly messages: readonly Message[];
}

/** A row with an answer to a prompt. */
export interface AnswerFields extends PromptRow {
  /** Unchanged; may be empty. Null if the row has null: no answer was given. */
  readonly completion: string | null;
  /** Who wrote the answer. */
  readonly source: string;
  readonly seed?: number;
}

/**
 * Reads `{prompt, system?}` and an id. Null and NaN count as absent; ids may be numbers.
 *
 * @param idColumns the first of these that the row has is its id; default `prompt_id`
 * @throws {RowError} naming file, line and field
 */
export function parsePromptRow(
  value: unknown,
  at: RowLocation,
  idColumns: readonly string[] = ['prompt_id'],
): PromptRow {
  if (!isFields(value)) {
    return fail(at, {
      expected: 'an object with "prompt"',
      found: describe(value),
      hint: 'Write each row as one JSON object.',
    });
  }
  const id = idColumns.map((name) => optionalId(value, name, at)).find((found) => found !== undefined);
  const messages = readPrompt(value, at);
  if (messages === undefined || messages.every(({ content }) => strip(content) === '')) {
    return fail(at, {
      field: 'prompt',
      expected: 'text, or a list of {role, content}',
      found: messages === undefined ? 'nothing' : 'an empty prompt',
      hint: 'Write what is asked, as text or as messages.',
    });
  }
  const isText = typeof ownField(value, 'prompt') === 'string';
  return { ...(id === undefined ? {} : { id }), prompt: isText ? messages[0]!.content : messages, messages };
}

/**
 * Reads `{prompt_id?, prompt, system?, completion, source, seed?}`.
 *
 * @throws {RowError} naming file, line and field
 */
export function parseAnswerRow(value: unknown, at: RowLocation): AnswerFields {
  const row = parsePromptRow(value, at);
  const fields = value as Fields;
  const seed = optionalInteger(fields, 'seed', at);
  const isNull = Object.hasOwn(fields, 'completion') && optionalField(fields, 'completion') === undefined;
  return {
    ...row,
    completion: isNull ? null : requiredText(fields, 'completion', 'Write the answer; null if there is none.', at),
    source: requiredText(fields, 'source', 'Name the model that wrote the answer.', at),
    ...(seed === undefined ? {} : { seed }),
  };
}

function requiredText(row: Fields, name: string, hint: string, at: RowLocation): string {
  const value = ownField(row, name);
  if (typeof value === 'string') return checkText(value, name, at);
  return fail(at, { field: name, expected: 'text', found: describe(value), hint });
}
