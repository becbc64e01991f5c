import {
  checkText,
  describe,
  type Fields,
  fail,
  isFields,
  optionalField,
  optionalId,
  optionalInteger,
  optionalNumber,
  ownField,
  type RowLocation,
} from '../rows/fields';
import { type Message, readPrompt } from '../rows/preference-row';
import { strip } from '../rows/python-strip';

/** A row of scored answers, with the fields that pairing reads. */
export interface ScoredAnswer {
  /** The row's `prompt_id`; absent if it has none. */
  readonly promptId?: string;
  /** The messages that the answer replies to. */
  readonly prompt: readonly Message[];
  /** The answer without the whitespace around it; may be empty. */
  readonly completion: string;
  /** The model that wrote it. */
  readonly source: string;
  readonly seed?: number;
  /** Higher is better; absent if the answer could not be scored. */
  readonly score?: number;
  readonly at: RowLocation;
}

/**
 * Reads a scored answer: `{prompt_id?, prompt, completion, source, seed?, score}`. The prompt is text or a list of
 * `{role, content}`. A score that is null or absent means that the answer could not be scored.
 *
 * @throws {RowError} naming file, line and field
 */
export function parseScoredAnswer(value: unknown, at: RowLocation): ScoredAnswer {
  if (!isFields(value)) {
    return fail(at, {
      expected: 'an object with "prompt", "completion", "source" and "score"',
      found: describe(value),
      hint: 'Write each answer as one JSON object.',
    });
  }
  const promptId = optionalId(value, 'prompt_id', at);
  const seed = optionalInteger(value, 'seed', at);
  const score = optionalNumber(value, 'score', at);
  return {
    ...(promptId === undefined ? {} : { promptId }),
    prompt: readPrompt(value, at) ?? failText(value, 'prompt', 'Write what was asked, as text or as messages.', at),
    completion: strip(completionText(value, at)),
    source: requiredText(value, 'source', 'Name the model that wrote the answer.', at),
    ...(seed === undefined ? {} : { seed }),
    ...(score === undefined ? {} : { score }),
    at,
  };
}

/** A null completion, of a model that gave no answer, is an empty one: it is left out and counted. */
function completionText(row: Fields, at: RowLocation): string {
  const isNull = Object.hasOwn(row, 'completion') && optionalField(row, 'completion') === undefined;
  return isNull ? '' : requiredText(row, 'completion', 'Write the answer; empty answers are left out and counted.', at);
}

function requiredText(row: Fields, name: string, hint: string, at: RowLocation): string {
  const value = ownField(row, name);
  return typeof value === 'string' ? checkText(value, name, at) : failText(row, name, hint, at);
}

const failText = (row: Fields, name: string, hint: string, at: RowLocation): never =>
  fail(at, { field: name, expected: 'text', found: describe(ownField(row, name)), hint });
