import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import type { ActivationCheckpointing } from '@wpo/gemma';

/** The measures, in the order in which they run. */
export const MEASURES = ['step', 'reference', 'generate', 'load', 'data', 'memory'] as const;
export type MeasureName = (typeof MEASURES)[number];

export interface Flags {
  /** A Python with TRL's packages; undefined: only ours is measured. */
  readonly peer: string | undefined;
  /** Undefined: the benchmark's own model, written on first use. */
  readonly model: string | undefined;
  /** The model of the `memory` measure; undefined: a small one. */
  readonly memoryModel: string | undefined;
  readonly pairs: string;
  readonly long: string;
  readonly only: readonly MeasureName[];
  /** Undefined: both `auto`, which is `wpo train`'s default, and `always`. */
  readonly checkpointing: ActivationCheckpointing | undefined;
  /** Measured rounds over the pairs; a warm-up round comes before them. */
  readonly rounds: number;
  /** Tokens generated for each prompt. */
  readonly tokens: number;
  /** Rows encoded. */
  readonly rows: number;
  /** Steps of the `memory` measure. */
  readonly steps: number;
  readonly json: boolean;
  readonly help: boolean;
}

export const HELP = `npm run bench -- [FLAGS]: measures speed and memory of training on this machine, beside TRL

  --peer PYTHON          also measure TRL, pair by pair in turns; needs: pip install torch transformers trl datasets
  --model DIR            the Gemma-2 to measure with; default: 159M random parameters, written on first use
  --memory-model DIR     the Gemma-2 for the memory measure; default: 0.3M parameters
  --pairs FILE           pairs with short prompts; default bench/pairs.jsonl
  --long FILE            pairs with long prompts; default bench/long-pairs.jsonl
  --only LIST            measures to run, of ${MEASURES.join(',')}
  --checkpointing MODE   auto, always or never; default: both auto and always
  --rounds N             measured rounds, after a warm-up round; default 2
  --tokens N             tokens to generate for each prompt; default 64
  --rows N               rows to encode; default 61000
  --steps N              steps of the memory measure; default 1000
  --json                 print every turn as JSON instead of a table
`;

/** @throws Error that names the flag, the value found and the values expected */
export function parseFlags(args: readonly string[], root: string): Flags {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({
    args: args.filter((arg) => arg !== '--'), // package managers may pass `--` on
    options: {
      peer: text,
      model: text,
      'memory-model': text,
      pairs: text,
      long: text,
      only: text,
      checkpointing: text,
      rounds: text,
      tokens: text,
      rows: text,
      steps: text,
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  const path = (value: string | undefined) => (value === undefined ? undefined : resolve(value));
  return {
    peer: values.peer,
    model: path(values.model),
    memoryModel: path(values['memory-model']),
    pairs: path(values.pairs) ?? resolve(root, 'bench/pairs.jsonl'),
    long: path(values.long) ?? resolve(root, 'bench/long-pairs.jsonl'),
    only: values.only === undefined ? MEASURES : values.only.split(',').map((name) => oneOf('only', name, MEASURES)),
    checkpointing:
      values.checkpointing === undefined ? undefined : oneOf('checkpointing', values.checkpointing, CHECKPOINTING),
    rounds: count('rounds', values.rounds, 2),
    tokens: count('tokens', values.tokens, 64),
    rows: count('rows', values.rows, 61_000),
    steps: count('steps', values.steps, 1000),
    json: values.json,
    help: values.help,
  };
}

const CHECKPOINTING = ['auto', 'always', 'never'] as const;

function oneOf<T extends string>(flag: string, found: string, expected: readonly T[]): T {
  const match = expected.find((name) => name === found);
  if (match === undefined) throw new Error(`--${flag}: expected one of ${expected.join(', ')}, found ${found}`);
  return match;
}

function count(flag: string, found: string | undefined, byDefault: number): number {
  if (found === undefined) return byDefault;
  const value = Number(found);
  if (!Number.isSafeInteger(value) || value < 1)
    throw new Error(`--${flag}: expected a positive integer, found ${found}`);
  return value;
}
