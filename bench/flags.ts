import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import type { ActivationCheckpointing } from '@wpo/gemma';

/** What can be measured, in the order in which it is. */
export const MEASURES = ['step', 'reference', 'generate', 'load', 'data', 'memory'] as const;
export type MeasureName = (typeof MEASURES)[number];

export interface Flags {
  /** A Python with TRL's packages; none: ours alone. */
  readonly peer: string | undefined;
  /** Undefined: the benchmark's own, made on first use. */
  readonly model: string | undefined;
  /** The long run's; undefined: a small one. */
  readonly memoryModel: string | undefined;
  readonly pairs: string;
  readonly long: string;
  readonly only: readonly MeasureName[];
  /** Undefined: what `wpo train` does by itself, and all blocks computed again beside it. */
  readonly checkpointing: ActivationCheckpointing | undefined;
  /** Rounds over the pairs that count; one more goes before them. */
  readonly rounds: number;
  /** Tokens written for each prompt. */
  readonly tokens: number;
  /** Rows encoded. */
  readonly rows: number;
  /** Steps of the long run. */
  readonly steps: number;
  readonly json: boolean;
  readonly help: boolean;
}

export const HELP = `pnpm bench [FLAGS]: what training costs on this machine, and a peer beside it

  --peer PYTHON          run TRL beside it, pair by pair in turns; its packages: pip install torch transformers trl datasets
  --model DIR            a Gemma-2 to measure with; default: one of 159M random parameters, made on first use
  --memory-model DIR     a Gemma-2 for the long run; default: one of 0.3M parameters
  --pairs FILE           pairs with short prompts; default bench/pairs.jsonl
  --long FILE            pairs with long prompts; default bench/long-pairs.jsonl
  --only LIST            of ${MEASURES.join(',')}
  --checkpointing MODE   auto, always or never; default: auto, and always beside it
  --rounds N             rounds that count, after one that warms up; default 2
  --tokens N             tokens written for each prompt; default 64
  --rows N               rows encoded; default 61000
  --steps N              steps of the long run; default 1000
  --json                 print all that was measured as JSON
`;

/** @throws Error naming the flag, what was found and what wanted */
export function parseFlags(args: readonly string[], root: string): Flags {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({
    args: args.filter((arg) => arg !== '--'), // pnpm and npm hand it on
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

function oneOf<T extends string>(flag: string, found: string, wanted: readonly T[]): T {
  const match = wanted.find((name) => name === found);
  if (match === undefined) throw new Error(`--${flag}: found ${found}, wanted ${wanted.join(', ')}`);
  return match;
}

function count(flag: string, found: string | undefined, absent: number): number {
  if (found === undefined) return absent;
  const value = Number(found);
  if (!Number.isSafeInteger(value) || value < 1) throw new Error(`--${flag}: found ${found}, wanted a whole number`);
  return value;
}
