import { parseAnswerRow } from '../rows/answer-row';
import { type Fields, optionalNumber, type RowLocation } from '../rows/fields';
import type { Message } from '../rows/preference-row';
import { strip } from '../rows/python-strip';

/** A row of scored answers, with the fields that pairing reads. */
export interface ScoredAnswer {
  /** The row's `prompt_id`; absent if it has none. */
  readonly promptId?: string;
  /** The messages that the answer replies to. */
  readonly prompt: readonly Message[];
  /** The answer without the whitespace around it; empty if there is none. */
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
  const { id, messages, completion, source, seed } = parseAnswerRow(value, at);
  const score = optionalNumber(value as Fields, 'score', at);
  return {
    ...(id === undefined ? {} : { promptId: id }),
    prompt: messages,
    completion: strip(completion ?? ''),
    source,
    ...(seed === undefined ? {} : { seed }),
    ...(score === undefined ? {} : { score }),
    at,
  };
}
