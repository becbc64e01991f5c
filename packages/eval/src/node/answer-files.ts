import type { DataRecord } from '@wpo/data';
import { shortHash } from '@wpo/internal/node/hash';
import * as v from 'valibot';
import { type AnswerRow, answerKey } from '../answers';
import { EvaluationError } from '../errors';
import { readJsonl } from './read-rows';

/** An answer of a file, with whatever other fields its row has. */
export type FileAnswer = AnswerRow & Readonly<Record<string, unknown>>;

const answer = v.looseObject({
  prompt_id: v.string(),
  prompt: v.union([v.string(), v.array(v.object({ role: v.string(), content: v.string() }))]),
  completion: v.string(),
  source: v.string(),
  seed: v.exactOptional(v.number()),
  finish_reason: v.exactOptional(v.picklist(['stop', 'length'])),
});

/**
 * Reads answers as `wpo sample` writes them, or as they were put together from elsewhere: `seed` and `finish_reason` may
 * be absent.
 *
 * @throws {EvaluationError} naming file, line and field
 */
export async function* readAnswers(paths: readonly string[]): AsyncGenerator<FileAnswer, void, undefined> {
  for (const path of paths) {
    for await (const record of readJsonl(path, 'answers')) yield parseAnswer(record);
  }
}

function parseAnswer({ value, at }: DataRecord): FileAnswer {
  const { success, output, issues } = v.safeParse(answer, value);
  if (success) return output as FileAnswer;
  const field = v.getDotPath(issues[0]);
  throw new EvaluationError(
    `${at.file}:${at.line}:${field === null ? '' : ` "${field}":`} found ${issues[0].received}, wanted ${issues[0].expected}. An answer ` +
      'is {"prompt_id", "prompt", "completion", "source", "seed"?}.',
  );
}

/**
 * Reads files of answers once through, without keeping them: each answer's key and its text's fingerprint, in order.
 *
 * @param onAnswer is given each answer
 * @throws {EvaluationError} as `readAnswers` does, where two answers have one key, and where there is none
 */
export async function indexAnswers(
  paths: readonly string[],
  onAnswer: (answer: FileAnswer) => void = () => {},
): Promise<Map<string, string>> {
  const index = new Map<string, string>();
  for await (const answer of readAnswers(paths)) {
    const key = answerKey(answer);
    if (index.has(key)) {
      throw new EvaluationError(
        `${paths.join(', ')}: found two answers with prompt_id, source and seed ${key}, wanted one of each.`,
      );
    }
    index.set(key, fingerprint(answer.completion));
    onAnswer(answer);
  }
  if (index.size === 0) throw new EvaluationError(`${paths.join(', ')}: found no answers, wanted at least one line.`);
  return index;
}

/** A short id of texts. */
export const fingerprint = (...texts: readonly string[]): string => shortHash(texts);
