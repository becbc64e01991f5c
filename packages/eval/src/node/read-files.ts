import { parseAnswerRow, parsePromptRow, type RowLocation } from '@wpo/data';
import { shortHash } from '@wpo/internal/node/hash';
import { type EvalInstruction, type ModelOutput, noRows, parseInstruction, parseModelOutput } from '../alpaca-eval';
import { type AnswerRow, answerKey, type NamedPrompt } from '../answers';
import { EvaluationError } from '../errors';
import { type FileRow, readRowsFile } from './rows-file';

/** An answer from a file, with all the fields of its row. */
export type FileAnswer = AnswerRow & Readonly<Record<string, unknown>>;

/**
 * Reads prompts: `{prompt, system?, prompt_id?, id?}`. A prompt without an id gets a hash of it, so that the same prompt has
 * the same id in every file.
 *
 * @throws {RowError} naming file, line and field
 * @throws {EvaluationError} if the file cannot be read, or has no prompts
 */
export async function readPrompts(path: string): Promise<NamedPrompt[]> {
  const prompts: NamedPrompt[] = [];
  for await (const { row, location } of readRowsFile(path)) {
    const { id, prompt } = parsePromptRow(row, location, ['prompt_id', 'id']);
    prompts.push({ prompt_id: id ?? shortHash(prompt), prompt, at: location });
  }
  if (prompts.length === 0) throw new EvaluationError(`${path}: expected at least one prompt, found none.`);
  return prompts;
}

/**
 * Reads answers from files, as `wpo sample` writes them; `prompt_id`, `seed` and `finish_reason` may be absent or null. Rows
 * whose `completion` is null are left out.
 *
 * @param onLeftOut called for each row that is left out
 * @throws {RowError} naming file, line and field
 * @throws {EvaluationError} if a file cannot be read
 */
export async function* readAnswers(
  paths: readonly string[],
  onLeftOut: () => void = () => {},
): AsyncGenerator<FileAnswer, void, undefined> {
  for (const path of paths) {
    for await (const row of readRowsFile(path)) {
      const answer = parseAnswer(row);
      if (answer === null) onLeftOut();
      else yield answer;
    }
  }
}

/** The row with its prompt, in which the system text is, and its fields as the other files have them; null without an answer. */
function parseAnswer({ row, location }: FileRow): FileAnswer | null {
  const { id, prompt, completion, source, seed } = parseAnswerRow(row, location);
  if (completion === null) return null;
  const { system, system_prompt, seed: _, finish_reason, ...others } = row as Readonly<Record<string, unknown>>;
  return {
    ...others,
    prompt_id: id ?? shortHash(prompt),
    prompt,
    completion,
    source,
    ...(seed === undefined ? {} : { seed }),
    ...(finish_reason === 'stop' || finish_reason === 'length' ? { finish_reason } : {}),
  };
}

/** What files of answers hold. */
export interface AnswerIndex {
  /** The fingerprint of each answer's text by the answer's key (see `answerKey`), in order. */
  readonly texts: ReadonlyMap<string, string>;
  /** The key of each row's answer, in order; null for a row that was left out. */
  readonly rows: readonly (string | null)[];
}

/**
 * Reads files of answers once, without keeping them.
 *
 * @param onAnswer called with each answer
 * @throws {EvaluationError} as `readAnswers` does, for two answers with the same key, and if there is no answer
 */
export async function indexAnswers(
  paths: readonly string[],
  onAnswer: (answer: FileAnswer) => void = () => {},
): Promise<AnswerIndex> {
  const files = paths.join(', ');
  const texts = new Map<string, string>();
  const rows: (string | null)[] = [];
  for await (const answer of readAnswers(paths, () => rows.push(null))) {
    const key = answerKey(answer);
    if (texts.has(key)) {
      throw new EvaluationError(
        `${files}: expected one answer for each prompt_id, source and seed, found two for ${key}. Remove one of them, or ` +
          'give it another source or seed.',
      );
    }
    texts.set(key, fingerprint(answer.completion));
    rows.push(key);
    onAnswer(answer);
  }
  if (texts.size === 0) throw new EvaluationError(`${files}: expected at least one answer, found none.`);
  return { texts, rows };
}

/** A short hash of texts. */
export const fingerprint = (...texts: readonly string[]): string => shortHash(texts);

/**
 * Reads a file in AlpacaEval's format: a JSON array of rows, or one row per line.
 *
 * @param parse returns undefined for a row to leave out
 * @throws {RowError} for the first row that cannot be used, and for a file without rows
 * @throws {EvaluationError} if the file cannot be read
 */
export async function readAlpaca<T>(
  path: string,
  parse: (row: unknown, at: RowLocation) => T | undefined,
): Promise<T[]> {
  const rows: T[] = [];
  let count = 0;
  for await (const { row, location } of readRowsFile(path)) {
    count += 1;
    const parsed = parse(row, location);
    if (parsed !== undefined) rows.push(parsed);
  }
  if (count === 0) throw noRows(path);
  return rows;
}

/** A model's answers, and the number of rows that were left out because their output is null. */
export interface ModelOutputs {
  readonly outputs: ModelOutput[];
  readonly leftOut: number;
}

/**
 * Reads a model's answers: AlpacaEval's `model_outputs.json`, or a file of `wpo sample` whose prompts are text.
 *
 * @throws as `readAlpaca`
 */
export async function readOutputs(path: string): Promise<ModelOutputs> {
  let leftOut = 0;
  const outputs = await readAlpaca(path, (row, at) => {
    const output = asOutput(row) as { readonly output?: unknown } | null;
    if (output?.output !== null) return parseModelOutput(output, at);
    leftOut += 1;
    return undefined;
  });
  return { outputs, leftOut };
}

/** Reads the instructions of an evaluation set, from the same files as `readOutputs`; answers in them are ignored. */
export const readInstructions = (path: string): Promise<EvalInstruction[]> =>
  readAlpaca(path, (row, at) => ({ ...parseInstruction(asOutput(row), at), at }));

/** Gives the columns of `wpo sample` AlpacaEval's names. */
function asOutput(row: unknown): unknown {
  if (typeof row !== 'object' || row === null || !('prompt' in row) || 'instruction' in row) return row;
  const { prompt, completion, source, ...others } = row as Readonly<Record<string, unknown>>;
  return { ...others, instruction: prompt, output: completion, generator: source };
}
