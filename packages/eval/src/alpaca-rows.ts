import { RowError, type RowLocation } from '@wpo/data';
import type { Preference } from './win-rate';

/** An instruction of an evaluation set, as the project alpaca_eval lays it out. */
export interface EvalInstruction {
  readonly instruction: string;
  /** The set that it is from. */
  readonly dataset?: string;
}

/** A model's answer to an instruction: a row of alpaca_eval's `model_outputs.json`. */
export interface ModelOutput extends EvalInstruction {
  readonly output: string;
  /** The model's name. */
  readonly generator: string;
}

/** Two answers to an instruction. */
export interface OutputPair extends EvalInstruction {
  /** The baseline's answer and its name. */
  readonly output_1: string;
  readonly generator_1: string;
  /** The model's. */
  readonly output_2: string;
  readonly generator_2: string;
}

/** A judged pair: a row of alpaca_eval's `annotations.json`. */
export interface Annotation extends OutputPair {
  /** The judge's name. */
  readonly annotator?: string;
  readonly preference: Preference;
  /** What the judge said. */
  readonly raw_completion?: unknown;
}

/** @throws {RowError} where `instruction` is no text */
export const parseInstruction = (row: unknown, at: RowLocation): EvalInstruction => ({
  instruction: text(row, 'instruction', at),
  ...optionalText(row, 'dataset', at),
});

/**
 * Reads a row of `model_outputs.json`; columns that it does not know are left out.
 *
 * @throws {RowError} where `instruction` or `output` is no text
 */
export const parseModelOutput = (row: unknown, at: RowLocation): ModelOutput => ({
  ...parseInstruction(row, at),
  output: text(row, 'output', at),
  generator: optionalText(row, 'generator', at).generator ?? 'unnamed',
});

/**
 * Reads a row of `annotations.json`; columns that it does not know are left out.
 *
 * @throws {RowError} where an answer is no text, or `preference` neither number nor null
 */
export function parseAnnotation(row: unknown, at: RowLocation): Annotation {
  const preference = fieldOf(row, 'preference', at);
  if (preference !== null && typeof preference !== 'number') {
    throw new RowError(at, {
      field: 'preference',
      found: describe(preference),
      expected: 'a number from 1 (the baseline is better) to 2 (the model is), or null',
      hint: 'Write 1.5 for a draw, and null where the judge gave no answer.',
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

function text(row: unknown, name: string, at: RowLocation): string {
  const value = fieldOf(row, name, at);
  if (typeof value === 'string') return value;
  throw new RowError(at, {
    field: name,
    found: describe(value),
    expected: 'text',
    hint: 'Give it as alpaca_eval lays it out: instruction, output, generator, dataset; annotations have output_1 and output_2.',
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
    hint: 'Write a JSON array of objects, or one object a line.',
  });
}

function describe(value: unknown): string {
  if (value === undefined) return 'nothing';
  const json = JSON.stringify(value);
  return json.length > 60 ? `${json.slice(0, 60)}…` : json;
}
