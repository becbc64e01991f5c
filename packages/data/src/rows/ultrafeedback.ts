import { fingerprint } from '@wpo/internal/fingerprint';
import { choosePair } from '../pairing/choose-pair';
import { pairRow } from '../pairing/pair-row';
import { type Fields, fail, field, isFields, optionalName } from './preference-row';
import type { Place } from './row-error';

/** One answer to a prompt: what sampling writes, scoring fills in, and pairing reads. */
export interface Answer {
  /** Answers of one prompt share it. */
  readonly prompt_id: string;
  readonly prompt: string;
  readonly completion: string;
  /** Who wrote the answer, e.g. a model's name. */
  readonly source: string;
  /** Decided the answer's draws; absent where it is not known. */
  readonly seed?: number;
  /** The higher, the better; absent where the answer has none. */
  readonly score?: number;
}

/**
 * The answers of one row of the raw UltraFeedback (openbmb): `instruction`, and `completions` of `{model, response,
 * overall_score, fine-grained_score, …}`. The score is `overall_score`, else `fine-grained_score`, the mean of the four
 * aspects. A row without `prompt_id` or `id` is named `file:line`.
 *
 * @throws {RowError} where the row is laid out otherwise
 */
export function answersOf(value: unknown, at: Place): Answer[] {
  const row = isFields(value) ? value : fail(at, { found: 'no object', ...layout });
  const prompt = text(row, 'instruction', 'instruction', at);
  const prompt_id = optionalName(row, 'prompt_id', at) ?? optionalName(row, 'id', at) ?? `${at.file}:${at.line}`;
  const completions = field(row, 'completions');
  if (!Array.isArray(completions)) return fail(at, { field: 'completions', found: 'no list', ...layout });
  return completions.map((completion: unknown, i): Answer => {
    const path = `completions[${i}]`;
    if (!isFields(completion)) return fail(at, { field: path, found: 'no object', ...layout });
    const score = [field(completion, 'overall_score'), field(completion, 'fine-grained_score')].find(Number.isFinite);
    return {
      prompt_id,
      prompt,
      completion: text(completion, 'response', `${path}.response`, at),
      source: text(completion, 'model', `${path}.model`, at),
      ...(typeof score === 'number' ? { score } : {}),
    };
  });
}

const layout = {
  wanted: 'UltraFeedback’s own layout: "instruction", and "completions" of {model, response, overall_score}',
  mend: 'Lay the row out so, or as "prompt", "chosen" and "rejected".',
};

function text(row: Fields, name: string, path: string, at: Place): string {
  const value = field(row, name);
  return typeof value === 'string' ? value : fail(at, { field: path, found: 'no text', ...layout });
}

/**
 * A raw UltraFeedback row as `prompt`, `chosen` and `rejected`: the answer of the highest score against that of the
 * lowest, ties as `choosePair` has them. Answers that are empty or have no score are passed over.
 *
 * @throws {RowError} where no two scores differ
 */
export function bestAgainstWorst(value: Fields, at: Place): Fields {
  const answers = answersOf(value, at).filter(
    ({ completion, score }) => completion.trim() !== '' && score !== undefined,
  );
  const choice = choosePair(
    answers.map((answer) => ({
      answer,
      score: answer.score!,
      length: answer.completion.length,
      text: fingerprint(answer.completion),
    })),
  );
  if (typeof choice === 'string') {
    return fail(at, {
      field: 'completions',
      found: `scores ${answers.map(({ score }) => score).join(', ') || 'nowhere'}`,
      wanted: 'two answers whose scores differ',
      mend: 'No preference can be read from the row: drop it, or let bad rows be skipped and counted.',
    });
  }
  return pairRow({ ...choice.chosen.answer }, { ...choice.rejected.answer });
}
