import { createReadStream } from 'node:fs';
import type { RowLocation } from '@wpo/data';
import { shortHash } from '@wpo/internal/node/hash';
import * as v from 'valibot';
import {
  type EvalInstruction,
  type ModelOutput,
  parseInstruction,
  parseModelOutput,
  readAlpacaFrom,
} from '../alpaca-eval';
import { type AnswerRow, answerKey } from '../answers';
import { EvaluationError } from '../errors';
import { type FileRow, readRowsFile } from './rows-file';

/** An answer from a file, with all the fields of its row. */
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
 * Reads answers from JSONL files, as `wpo sample` writes them; `seed` and `finish_reason` may be absent.
 *
 * @throws {EvaluationError} naming file, line and field
 */
export async function* readAnswers(paths: readonly string[]): AsyncGenerator<FileAnswer, void, undefined> {
  for (const path of paths) {
    for await (const row of readRowsFile(path, 'answers')) yield parseAnswer(row);
  }
}

function parseAnswer({ row, at }: FileRow): FileAnswer {
  const { success, output, issues } = v.safeParse(answer, row);
  if (success) return output as FileAnswer;
  const field = v.getDotPath(issues[0]);
  throw new EvaluationError(
    `${at}:${field === null ? '' : ` ${field}:`} expected ${issues[0].expected}, found ${issues[0].received}. Write ` +
      'answers as {"prompt_id", "prompt", "completion", "source", "seed"?}.',
  );
}

/**
 * Reads files of answers once, without keeping them, and returns the fingerprint of each answer's text by the answer's
 * key (see `answerKey`), in order.
 *
 * @param onAnswer called with each answer
 * @throws {EvaluationError} as `readAnswers` does, for two answers with the same key, and if there is no answer
 */
export async function indexAnswers(
  paths: readonly string[],
  onAnswer: (answer: FileAnswer) => void = () => {},
): Promise<Map<string, string>> {
  const files = paths.join(', ');
  const index = new Map<string, string>();
  for await (const answer of readAnswers(paths)) {
    const key = answerKey(answer);
    if (index.has(key)) {
      throw new EvaluationError(
        `${files}: expected one answer for each prompt_id, source and seed, found two for ${key}. Remove one of them, or ` +
          'give it another source or seed.',
      );
    }
    index.set(key, fingerprint(answer.completion));
    onAnswer(answer);
  }
  if (index.size === 0) throw new EvaluationError(`${files}: expected at least one answer, found none.`);
  return index;
}

/** A short hash of texts. */
export const fingerprint = (...texts: readonly string[]): string => shortHash(texts);

/**
 * Reads a file in AlpacaEval's format: see `readAlpacaFrom`.
 *
 * @throws {RowError} for the first row that cannot be used, and for a file without rows
 * @throws {EvaluationError} if the file cannot be read
 */
export const readAlpaca = <T>(path: string, parse: (row: unknown, at: RowLocation) => T): Promise<T[]> =>
  readAlpacaFrom(bytesOf(path), path, parse);

async function* bytesOf(path: string): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    for await (const chunk of createReadStream(path)) yield chunk as Uint8Array;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const found = code === 'ENOENT' ? 'no such file' : code === 'EISDIR' ? 'a folder' : message;
    const expected = 'a JSON or JSONL file in the format of alpaca_eval';
    throw new EvaluationError(`${path}: expected ${expected}, found ${found}. Check the path.`, { cause: error });
  }
}

/**
 * Reads a model's answers: AlpacaEval's `model_outputs.json`, or a file of `wpo sample` whose prompts are text.
 *
 * @throws as `readAlpaca`
 */
export const readOutputs = (path: string): Promise<ModelOutput[]> =>
  readAlpaca(path, (row, at) => parseModelOutput(asOutput(row), at));

/** Reads the instructions of an evaluation set, from the same files as `readOutputs`; answers in them are ignored. */
export const readInstructions = (path: string): Promise<EvalInstruction[]> =>
  readAlpaca(path, (row, at) => parseInstruction(asOutput(row), at));

/** Gives the columns of `wpo sample` AlpacaEval's names. */
function asOutput(row: unknown): unknown {
  if (typeof row !== 'object' || row === null || !('prompt' in row) || 'instruction' in row) return row;
  const { prompt, completion, source, ...others } = row as Readonly<Record<string, unknown>>;
  return { ...others, instruction: prompt, output: completion, generator: source };
}
