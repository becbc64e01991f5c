import type { RowLocation } from '@wpo/data';
import { type EvalInstruction, type ModelOutput, parseInstruction, parseModelOutput } from '@wpo/eval';
import { readAlpaca } from '@wpo/eval/node';
import { fromInput } from '../errors';
import { writeWholeFile } from '../whole-file';

/** Reads a model's answers: alpaca_eval's `model_outputs.json`, or what `wpo sample` wrote, a text prompt a row. */
export const readOutputs = (path: string): Promise<ModelOutput[]> =>
  fromInput(() => readAlpaca(path, (row, at) => parseModelOutput(asOutput(row), at)));

/** Reads the instructions of an evaluation set; answers beside them do not count. */
export const readInstructions = (path: string): Promise<EvalInstruction[]> =>
  fromInput(() => readAlpaca(path, (row: unknown, at: RowLocation) => parseInstruction(asOutput(row), at)));

function asOutput(row: unknown): unknown {
  if (typeof row !== 'object' || row === null || !('prompt' in row) || 'instruction' in row) return row;
  const { prompt, completion, source, ...others } = row as Readonly<Record<string, unknown>>;
  return { ...others, instruction: prompt, output: completion, generator: source };
}

/** Writes rows as one JSON array, as alpaca_eval does. */
export const writeRows = (path: string, rows: readonly object[]): Promise<void> =>
  writeWholeFile(path, (append) => append(`${JSON.stringify(rows, null, 2)}\n`));
