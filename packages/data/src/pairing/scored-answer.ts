import {
  describe,
  type Fields,
  fail,
  isFields,
  type Message,
  optionalName,
  optionalNumber,
  own,
  promptTurns,
  wellFormed,
} from '../rows/preference-row';
import { strip } from '../rows/python-strip';
import type { Place } from '../rows/row-error';

/** A row of scored answers as it is read: what pairing has to know of it. */
export interface ScoredAnswer {
  /** The row's `prompt_id`; absent where it has none. */
  readonly promptId?: string;
  /** The turns that the answer answers. */
  readonly prompt: readonly Message[];
  /** The answer without the whitespace around it; may be empty. */
  readonly completion: string;
  /** The model that wrote it. */
  readonly source: string;
  readonly seed?: number;
  /** The higher, the better; absent where the answer could not be scored. */
  readonly score?: number;
  /** The row as the file has it. */
  readonly row: Fields;
  readonly at: Place;
}

/**
 * Reads a scored answer: `{prompt_id?, prompt, completion, source, seed?, score}`. A prompt is text or a list of
 * `{role, content}`; a score of null, or none, says that the answer could not be scored.
 *
 * @throws {RowError} naming file, line and field
 */
export function parseScoredAnswer(value: unknown, at: Place): ScoredAnswer {
  if (!isFields(value)) {
    return fail(at, {
      found: describe(value),
      wanted: 'an object with "prompt", "completion", "source" and "score"',
      mend: 'Write each answer as one JSON object.',
    });
  }
  const promptId = optionalName(value, 'prompt_id', at);
  const seed = optionalNumber(value, 'seed', at);
  const score = optionalNumber(value, 'score', at);
  return {
    ...(promptId === undefined ? {} : { promptId }),
    prompt: promptTurns(value, at) ?? wantText(value, 'prompt', 'Put in what was asked, as text or as its turns.', at),
    completion: strip(text(value, 'completion', 'Put in the answer; an empty one is left out and counted.', at)),
    source: text(value, 'source', 'Name the model that wrote the answer.', at),
    ...(seed === undefined ? {} : { seed }),
    ...(score === undefined ? {} : { score }),
    row: value,
    at,
  };
}

function text(row: Fields, name: string, mend: string, at: Place): string {
  const value = own(row, name);
  return typeof value === 'string' ? wellFormed(value, name, at) : wantText(row, name, mend, at);
}

const wantText = (row: Fields, name: string, mend: string, at: Place): never =>
  fail(at, { field: name, found: describe(own(row, name)), wanted: 'text', mend });
