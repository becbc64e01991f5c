import type { Gemma2Preset } from '@wpo/gemma';
import { choice, integer, path } from './fields';
import { type ConfigOf, commandSchema } from './schema';

/** Listed here and not imported from @wpo/gemma, so that `wpo --help` loads no library. */
const PRESETS: Readonly<Record<Gemma2Preset, string>> = {
  tiny: '0.3M parameters, for tests',
  '159m': '159M parameters, the benchmark’s model',
  '2b-wide': 'the first 4 layers of 2b, 0.9B parameters',
  '2b': 'Gemma-2 2B, 2.6B parameters',
  '9b': 'Gemma-2 9B, 9.2B parameters',
  '27b': 'Gemma-2 27B, 27.2B parameters',
};

/** `wpo init`. */
export const initSchema = commandSchema({
  name: 'init',
  summary: 'write a model with random weights',
  description: [
    'Writes a Gemma-2 with random weights, as Hugging Face Transformers initializes it: for benchmarks, for tests, and to find out ' +
      'whether a model of this size fits a machine before it is downloaded. It has learned nothing, so its answers have no meaning. ' +
      'The weights are written in parts, so this takes little memory. The same seed gives the same bytes.',
  ],
  fields: {
    preset: choice(PRESETS, { required: true, help: 'the sizes of the model', flag: { placeholder: 'name' } }),
    out: path('output', { required: true, help: 'the folder to write; it must not exist, or be empty' }),
    dtype: choice(
      { float32: '4 bytes per parameter', bfloat16: '2 bytes', float16: '2 bytes' },
      { default: 'bfloat16', help: 'number type of the weights', flag: { placeholder: 'type' } },
    ),
    seed: integer({ min: 0, max: 2 ** 32 - 1, default: 0, help: 'random seed', flag: { placeholder: 'number' } }),
    tokenizer: path('model', {
      help: 'folder or Hub name of a model whose tokenizer is copied (default: a tokenizer with a token for each byte)',
    }),
  },
  examples: [
    'wpo init --preset tiny --out models/tiny',
    'wpo init --preset 9b --out models/random-9b --tokenizer google/gemma-2-9b-it',
  ],
});

export type InitConfig = ConfigOf<typeof initSchema>;
