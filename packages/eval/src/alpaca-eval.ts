import { checkText, parsePromptRow, RowError, type RowLocation, readRecordsFrom } from '@wpo/data';
import { describe } from '@wpo/internal/describe';
import { lengthControlledWinRate, textLength } from './length-control';
import { mean, type Preference, type WinRate, winRate } from './win-rate';

// The rows and metrics of AlpacaEval (https://github.com/tatsu-lab/alpaca_eval), under its names.

/** An instruction of an evaluation set. */
export interface EvalInstruction {
  readonly instruction: string;
  /** The data set that it comes from. */
  readonly dataset?: string;
  /** The file and line of an instruction to answer. */
  readonly at?: RowLocation;
}

/** A model's answer to an instruction: a row of `model_outputs.json`. */
export interface ModelOutput extends EvalInstruction {
  readonly output: string;
  /** The model's name. */
  readonly generator: string;
}

/** The baseline's and the model's answer to an instruction. */
export interface OutputPair extends EvalInstruction {
  /** The baseline's answer. */
  readonly output_1: string;
  /** The baseline's name. */
  readonly generator_1: string;
  /** The model's answer. */
  readonly output_2: string;
  /** The model's name. */
  readonly generator_2: string;
}

/** A judged pair: a row of `annotations.json`. */
export interface Annotation extends OutputPair {
  /** The judge's name. */
  readonly annotator?: string;
  readonly preference: Preference;
  /** The judge's reply. */
  readonly raw_completion?: unknown;
}

/**
 * Parses a row with an instruction. Alpaca's `input` follows the instruction, and a `system` text is put before it.
 *
 * @throws {RowError} if one of them is not text
 */
export const parseInstruction = (row: unknown, at: RowLocation): EvalInstruction => ({
  instruction: instructionText(row, at),
  ...optionalText(row, 'dataset', at),
});

/**
 * Parses a row of `model_outputs.json`. Unknown columns are left out. Without a `generator` the name is `unnamed`.
 *
 * @throws {RowError} if `instruction` or `output` is not text
 */
export const parseModelOutput = (row: unknown, at: RowLocation): ModelOutput => ({
  ...parseInstruction(row, at),
  output: text(row, 'output', at),
  generator: optionalText(row, 'generator', at).generator ?? 'unnamed',
});

/**
 * Parses a row of `annotations.json`. Unknown columns are left out.
 *
 * @throws {RowError} if an answer is not text, or `preference` is neither a number nor null
 */
export function parseAnnotation(row: unknown, at: RowLocation): Annotation {
  const preference = fieldOf(row, 'preference', at);
  if (preference !== null && typeof preference !== 'number') {
    throw new RowError(at, {
      field: 'preference',
      found: describe(preference),
      expected: 'a number from 1 (the baseline is better) to 2 (the model is better), or null',
      hint: 'Write 1.5 for a draw, and null if the judge gave no answer.',
    });
  }
  return {
    ...(fieldOf(row, 'instruction', at) === undefined ? { instruction: '' } : parseInstruction(row, at)),
    ...optionalText(row, 'dataset', at),
    output_1: text(row, 'output_1', at),
    generator_1: optionalText(row, 'generator_1', at).generator_1 ?? 'baseline',
    output_2: text(row, 'output_2', at),
    generator_2: optionalText(row, 'generator_2', at).generator_2 ?? 'model',
    ...optionalText(row, 'annotator', at),
    preference,
  };
}

/**
 * Reads a whole file in AlpacaEval's format: a JSON array of rows, or one row per line.
 *
 * @param file name of the source in errors
 * @param parse `parseModelOutput`, `parseAnnotation` or `parseInstruction`
 * @throws {RowError} for the first row that cannot be used, and for a file without rows
 */
export async function readAlpacaFrom<T>(
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  file: string,
  parse: (row: unknown, at: RowLocation) => T,
): Promise<T[]> {
  const rows: T[] = [];
  for await (const { value, at } of readRecordsFrom(chunks, file)) rows.push(parse(value, at));
  if (rows.length > 0) return rows;
  throw noRows(file);
}

/** The error for a file without rows. */
export const noRows = (file: string): RowError =>
  new RowError(
    { file, line: 1 },
    { found: 'no rows', expected: 'a JSON array of objects, or one object per line', hint: 'Check the path.' },
  );

function instructionText(row: unknown, at: RowLocation): string {
  const instruction = text(row, 'instruction', at);
  const { input = '' } = optionalText(row, 'input', at);
  const isInputApart = input.trim() !== '' && !instruction.includes(input.trim());
  const prompt = isInputApart ? `${instruction}\n\n${input}` : instruction;
  if (prompt.trim() === '') return prompt;
  return parsePromptRow({ ...(row as object), prompt }, at).prompt as string;
}

function text(row: unknown, name: string, at: RowLocation): string {
  const value = fieldOf(row, name, at);
  if (typeof value === 'string') return checkText(value, name, at);
  throw new RowError(at, {
    field: name,
    found: describe(value),
    expected: 'text',
    hint: 'Use the columns of alpaca_eval: instruction, output, generator, dataset; output_1 and output_2 in annotations.',
  });
}

function optionalText<N extends string>(row: unknown, name: N, at: RowLocation): { readonly [name in N]?: string } {
  const value = fieldOf(row, name, at) ?? undefined;
  return (value === undefined ? {} : { [name]: text(row, name, at) }) as { readonly [name in N]?: string };
}

function fieldOf(row: unknown, name: string, at: RowLocation): unknown {
  if (typeof row === 'object' && row !== null && !Array.isArray(row)) {
    return Object.hasOwn(row, name) ? (row as Readonly<Record<string, unknown>>)[name] : undefined;
  }
  throw new RowError(at, {
    found: describe(row),
    expected: 'an object',
    hint: 'Write a JSON array of objects, or one object per line.',
  });
}

/** What alpaca_eval prints about a model, under alpaca_eval's names. */
export interface AlpacaMetrics extends WinRate {
  /** See `lengthControlledWinRate`. */
  readonly length_controlled_winrate: number;
  /** Mean length of the model's answers in characters, rounded down. NaN without answers. */
  readonly avg_length: number;
}

/** The rates of one data set of an evaluation set. */
export interface DatasetMetrics extends WinRate {
  /** Empty for rows that name no data set. */
  readonly dataset: string;
  /** As in `AlpacaMetrics`. */
  readonly avg_length: number;
}

/** Win rate, length-controlled win rate and average length of a model. */
export const alpacaMetrics = (annotations: readonly Annotation[]): AlpacaMetrics => ({
  ...winRate(annotations.map(({ preference }) => preference)),
  length_controlled_winrate: lengthControlledWinRate(annotations),
  avg_length: averageLength(annotations),
});

/** The rates of each data set, in order of first appearance. */
export function metricsByDataset(annotations: readonly Annotation[]): DatasetMetrics[] {
  const rowsByDataset = new Map<string, Annotation[]>();
  for (const annotation of annotations) {
    const { dataset = '' } = annotation;
    const rows = rowsByDataset.get(dataset);
    if (rows === undefined) rowsByDataset.set(dataset, [annotation]);
    else rows.push(annotation);
  }
  return [...rowsByDataset].map(([dataset, rows]) => ({
    dataset,
    ...winRate(rows.map(({ preference }) => preference)),
    avg_length: averageLength(rows),
  }));
}

const averageLength = (annotations: readonly Annotation[]): number =>
  Math.floor(mean(annotations.map(({ output_2 }) => textLength(output_2))));
