import { fingerprint } from '@wpo/internal/fingerprint';
import { choosePair, pairRow } from '../pairing/choose-pair';
import { type Fields, fail, isFields, optionalField, optionalId, type RowLocation } from './fields';

/** One of the answers in a row of the raw UltraFeedback. */
export interface UltraFeedbackAnswer {
  readonly prompt_id: string;
  readonly prompt: string;
  readonly completion: string;
  readonly source: string;
  /** Higher is better; absent if the answer has none. */
  readonly score?: number;
}

/**
 * Converts a row of the raw UltraFeedback (openbmb/UltraFeedback) to `prompt`, `chosen` and `rejected`: the answers with
 * the highest and the lowest score. Ties are broken as in `choosePair`. Answers that are empty or have no score are
 * ignored.
 *
 * @throws {RowError} if no two scores differ
 */
export function fromUltraFeedback(row: Fields, at: RowLocation): Fields {
  const answers = ultraFeedbackAnswers(row, at).filter(
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
      expected: 'two answers whose scores differ',
      found:
        answers.length === 0
          ? 'no scores'
          : `the scores ${answers
              .map(({ score }) => score)
              .slice(0, 10)
              .join(', ')}`,
      hint: 'The row expresses no preference: drop it, or have bad rows skipped and counted.',
    });
  }
  const { system, system_prompt } = row;
  return { ...pairRow({ ...choice.chosen.answer }, { ...choice.rejected.answer }), system, system_prompt };
}

const ULTRAFEEDBACK = {
  expected: 'the columns of UltraFeedback: "instruction", and "completions" of {model, response, overall_score}',
  hint: 'Write the row like that, or with "prompt", "chosen" and "rejected".',
};

/**
 * The answers of a row: `instruction`, and `completions` of `{model, response, overall_score, fine-grained_score, …}`. The
 * score is `overall_score`, else `fine-grained_score`, the mean of the four aspects.
 */
export function ultraFeedbackAnswers(row: Fields, at: RowLocation): UltraFeedbackAnswer[] {
  const prompt = ultraFeedbackText(row, 'instruction', 'instruction', at);
  const prompt_id = optionalId(row, 'prompt_id', at) ?? optionalId(row, 'id', at) ?? `${at.file}:${at.line}`;
  const completions = optionalField(row, 'completions');
  if (!Array.isArray(completions)) return fail(at, { field: 'completions', found: 'no list', ...ULTRAFEEDBACK });
  return completions.map((completion: unknown, i): UltraFeedbackAnswer => {
    const path = `completions[${i}]`;
    if (!isFields(completion)) return fail(at, { field: path, found: 'no object', ...ULTRAFEEDBACK });
    const scores = [optionalField(completion, 'overall_score'), optionalField(completion, 'fine-grained_score')];
    const score = scores.find(Number.isFinite);
    return {
      prompt_id,
      prompt,
      completion: ultraFeedbackText(completion, 'response', `${path}.response`, at),
      source: ultraFeedbackText(completion, 'model', `${path}.model`, at),
      ...(typeof score === 'number' ? { score } : {}),
    };
  });
}

function ultraFeedbackText(row: Fields, name: string, path: string, at: RowLocation): string {
  const value = optionalField(row, name);
  return typeof value === 'string' ? value : fail(at, { field: path, found: 'no text', ...ULTRAFEEDBACK });
}
