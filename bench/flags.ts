import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { type ActivationCheckpointing, type Gemma2Preset, gemma2Presets, type Precision } from '@wpo/gemma';

/** The measures, in the order in which they run. */
export const MEASURES = ['step', 'lora', 'reference', 'generate', 'load', 'data', 'memory'] as const;
export type MeasureName = (typeof MEASURES)[number];

/** The parts of the script for a GPU, in the order in which they run. */
export const GPU_PARTS = ['check', 'attention', 'lora-2b', 'generate-2b', 'lora-9b'] as const;
export type GpuPart = (typeof GPU_PARTS)[number];

export interface Flags {
  /** A Python with TRL's packages; undefined: only ours is measured. */
  readonly peer: string | undefined;
  /** Undefined: a model of `preset`, written on first use. */
  readonly model: string | undefined;
  readonly preset: Gemma2Preset;
  /** How `lora`, `generate` and `load` hold the weights, and the peer in `step`. Everything else is float32. */
  readonly dtype: Dtype;
  /** Of our matrix products. */
  readonly precision: Precision;
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
  /** Tokens of the pair of the `lora` measure: its prompt, which counts once, and both answers. */
  readonly pairTokens: number;
  /** Rank of its adapter. */
  readonly loraR: number;
  /** Run the script for a machine with a GPU, instead of `only`. */
  readonly gpu: boolean;
  readonly gpuParts: readonly GpuPart[];
  /** Run that script on tiny models, to test it. */
  readonly dry: boolean;
  /** The longest that the script runs. */
  readonly minutes: number;
  readonly json: boolean;
  readonly help: boolean;
}

export type Dtype = 'float32' | 'bfloat16';

const PRESETS = Object.keys(gemma2Presets) as Gemma2Preset[];

export const HELP = `npm run bench -- [FLAGS]: measures speed and memory of training on this machine, beside TRL

  --peer PYTHON          also measure TRL, pair by pair in turns; needs: pip install torch transformers trl datasets peft
  --model DIR            the Gemma-2 to measure with; default: that of --preset
  --preset NAME          sizes of a model with random weights, written on first use: ${PRESETS.join(', ')}; default 159m
  --dtype TYPE           float32 or bfloat16: how lora, generate and load hold the weights, and the peer in step; default float32
  --precision TYPE       float32 or bfloat16: precision of our matrix products; default float32
  --memory-model DIR     the Gemma-2 for the memory measure; default: 0.3M parameters
  --pairs FILE           pairs with short prompts; default bench/pairs.jsonl
  --long FILE            pairs with long prompts; default bench/long-pairs.jsonl
  --only LIST            measures to run, of ${MEASURES.join(',')}
  --checkpointing MODE   auto, always or never; default: both auto and always
  --rounds N             measured rounds, after a warm-up round; default 2
  --tokens N             tokens to generate for each prompt; default 64
  --rows N               rows to encode; default 61000
  --steps N              steps of the memory measure; default 1000
  --pair-tokens N        tokens of the pair of the lora measure; default 1024
  --lora-r N             rank of its adapter; default 16
  --gpu                  one script for a machine with an NVIDIA GPU: check the numbers, measure LoRA steps of 2B and 9B, and report
                         what was not run; --only takes ${GPU_PARTS.join(',')}
  --minutes N            with --gpu: the longest that it runs; default 25
  --dry                  with --gpu: run the same script on tiny models, on any machine, to test it
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
      preset: text,
      dtype: text,
      precision: text,
      'pair-tokens': text,
      'lora-r': text,
      minutes: text,
      gpu: { type: 'boolean', default: false },
      dry: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.dry && !values.gpu) throw new Error('--dry: expected --gpu with it, found none');
  const only = values.only?.split(',');
  const path = (value: string | undefined) => (value === undefined ? undefined : resolve(value));
  return {
    peer: values.peer,
    model: path(values.model),
    memoryModel: path(values['memory-model']),
    pairs: path(values.pairs) ?? resolve(root, 'bench/pairs.jsonl'),
    long: path(values.long) ?? resolve(root, 'bench/long-pairs.jsonl'),
    only: only === undefined || values.gpu ? MEASURES : only.map((name) => oneOf('only', name, MEASURES)),
    gpuParts: only === undefined || !values.gpu ? GPU_PARTS : only.map((name) => oneOf('only', name, GPU_PARTS)),
    minutes: count('minutes', values.minutes, 25),
    checkpointing:
      values.checkpointing === undefined ? undefined : oneOf('checkpointing', values.checkpointing, CHECKPOINTING),
    rounds: count('rounds', values.rounds, 2),
    tokens: count('tokens', values.tokens, 64),
    rows: count('rows', values.rows, 61_000),
    steps: count('steps', values.steps, 1000),
    preset: values.preset === undefined ? '159m' : oneOf('preset', values.preset, PRESETS),
    dtype: values.dtype === undefined ? 'float32' : oneOf('dtype', values.dtype, ['float32', 'bfloat16']),
    precision:
      values.precision === undefined ? 'float32' : oneOf('precision', values.precision, ['float32', 'bfloat16']),
    pairTokens: count('pair-tokens', values['pair-tokens'], 1024),
    loraR: count('lora-r', values['lora-r'], 16),
    gpu: values.gpu,
    dry: values.dry,
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
