import type { Gemma2Preset } from '@wpo/gemma';
import { choice, integer, path } from './fields';
import { machineFields } from './plan';
import { type ConfigOf, commandSchema, type Fields, type Problem } from './schema';
import { columns, split } from './shared';
import { formatValue } from './yaml-config';

/** Listed here and not imported from @wpo/gemma, so that `wpo --help` loads no library. */
const PRESETS: Readonly<Record<Gemma2Preset, string>> = {
  tiny: '0.3M parameters, for tests',
  '159m': '159M parameters, the benchmark’s model',
  '2b-wide': 'the first 4 layers of 2b, 0.9B parameters',
  '2b': 'Gemma-2 2B, 2.6B parameters',
  '9b': 'Gemma-2 9B, 9.2B parameters',
  '27b': 'Gemma-2 27B, 27.2B parameters',
};

/** The fields of a run, and those beside `preset` of a model with random weights: the two are not mixed. */
const RUN_FIELDS = ['model', 'data', 'split', 'columns', 'deviceMemory', 'hostMemory'] as const;
const MODEL_FIELDS = ['dtype', 'seed', 'tokenizer'] as const;

/** `wpo init`. */
export const initSchema = commandSchema({
  name: 'init',
  summary: 'write the YAML file of a training run, or a model with random weights',
  description: [
    'With --model and --data: reads the size of the model and every pair, plans the memory, and writes a YAML file for wpo train in ' +
      'which each line says why it is so. Lengths are such that as few tokens as possible are cut. All weights are trained if that fits ' +
      'in memory, else a LoRA adapter. The learning rate and beta are those of the published run. No file is ever replaced.',
    'With --preset: writes a Gemma-2 with random weights, as Hugging Face Transformers initializes it: for benchmarks, for tests, and to ' +
      'find out whether a model of this size fits a machine before it is downloaded. It has learned nothing, so its answers have no ' +
      'meaning. The weights are written in parts, so this takes little memory. The same seed gives the same bytes.',
  ],
  fields: {
    model: path('model', { help: 'the model to train: a folder, or org/name on the Hub' }),
    data: path('dataset', {
      help: 'the preference pairs to train on: a file, folder or glob, or org/name on the Hub',
    }),
    split,
    columns,
    ...machineFields,
    preset: choice(PRESETS, { help: 'the sizes of a model with random weights', flag: { placeholder: 'name' } }),
    dtype: choice(
      { float32: '4 bytes per parameter', bfloat16: '2 bytes', float16: '2 bytes' },
      { default: 'bfloat16', help: 'number type of the random weights', flag: { placeholder: 'type' } },
    ),
    seed: integer({
      min: 0,
      max: 2 ** 32 - 1,
      default: 0,
      help: 'random seed of the weights',
      flag: { placeholder: 'number' },
    }),
    tokenizer: path('model', {
      help: 'folder or Hub name of a model whose tokenizer is copied (default: a tokenizer with a token for each byte)',
    }),
    out: path('output', {
      required: true,
      help: 'the YAML file to write, which must not exist; with --preset the folder of the model, which must not exist or be empty',
    }),
  },
  groups: {
    'A training run': RUN_FIELDS,
    'A model with random weights': ['preset', ...MODEL_FIELDS],
    Output: ['out'],
  },
  check(config, name): Problem[] {
    const { preset, model, data } = config;
    const both = `${name('model')} and ${name('data')}`;
    if (preset === undefined && (model === undefined || data === undefined)) {
      const found = model !== undefined ? `no ${name('data')}` : data !== undefined ? `no ${name('model')}` : 'none';
      const hint = `${name('preset')} writes a model with random weights.`;
      return [
        { field: model === undefined ? 'model' : 'data', expected: `${both}, or ${name('preset')}`, found, hint },
      ];
    }
    const values: Readonly<Record<string, unknown>> = config;
    const fields: Fields = initSchema.fields;
    const isSet = (field: string) => values[field] !== undefined && values[field] !== fields[field]!.default;
    if (preset === undefined) {
      return MODEL_FIELDS.filter(isSet).map((field) => ({ field, expected: `${name('preset')} with it`, found: both }));
    }
    return RUN_FIELDS.filter(isSet).map((field) => ({
      ...{ field, expected: `no value with ${name('preset')}`, found: formatValue(values[field]) },
      hint: `It belongs to ${both}.`,
    }));
  },
  examples: [
    'wpo init --model google/gemma-2-2b-it --data pairs.jsonl --out run.yaml',
    'wpo init --model models/gemma-2-9b-it --data pairs.jsonl --device-memory 80GB --host-memory 128GB --out run.yaml',
    'wpo init --preset tiny --out models/tiny',
    'wpo init --preset 9b --out models/random-9b --tokenizer google/gemma-2-9b-it',
  ],
});

/** The configuration of `wpo init`. @interface */
export type InitConfig = { [K in keyof ConfigOf<typeof initSchema>]: ConfigOf<typeof initSchema>[K] };
