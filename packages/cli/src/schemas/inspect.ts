import { integer, path } from './fields';
import { type ConfigOf, commandSchema, type Problem } from './schema';
import { adapter, checkLengths, columns, dtype, encodingFields, json, precision, split } from './shared';

/** `wpo inspect`. */
export const inspectSchema = commandSchema({
  name: 'inspect',
  summary: 'show statistics of preference pairs',
  description: [
    'Prints what a file of preference pairs contains, before you train on it: number of pairs, lengths, how much the ' +
      'length limits would cut, score margins, sources, how often the chosen answer is the longer one, repeated rows, and ' +
      'the rows worth a look. Lengths are in tokens with --tokenizer or --model, in words without.',
  ],
  fields: {
    file: path('dataset', {
      required: true,
      help: 'preference pairs: a file, folder or glob, or org/name on the Hugging Face Hub',
      flag: { positional: true },
    }),
    split,
    columns,
    tokenizer: path('model', { help: 'tokenizer and chat template: a model’s folder, or org/name on the Hub' }),
    model: path('model', {
      help: 'a model that weighs some of the pairs; also the tokenizer, if --tokenizer is not given',
    }),
    adapter,
    dtype,
    precision,
    weigh: integer({ min: 1, default: 200, help: 'how many pairs the model weighs', flag: { placeholder: 'pairs' } }),
    seed: integer({
      min: 0,
      default: 42,
      help: 'random seed of the pairs that the model weighs',
      flag: { placeholder: 'number' },
    }),
    ...encodingFields,
    worst: integer({
      min: 0,
      default: 3,
      help: 'how many rows to list of each kind of rows worth a look',
      flag: { placeholder: 'rows' },
    }),
    html: path('output', {
      affects: 'nothing',
      help: 'also write the results as an HTML page, with charts and example rows',
    }),
    json,
  },
  check(config, name): Problem[] {
    if (config.adapter !== undefined && config.model === undefined) {
      return [{ field: 'adapter', expected: `${name('model')} with it`, found: `no ${name('model')}` }];
    }
    return checkLengths(config, name);
  },
  examples: [
    'wpo inspect pairs.jsonl',
    'wpo inspect pairs.jsonl --tokenizer models/gemma-2-9b-it --max-length 2048 --max-prompt-length 1800',
    'wpo inspect pairs.jsonl --tokenizer models/gemma-2-9b-it --html pairs.html',
    'wpo inspect demo/data/train.jsonl --model demo/model',
    'wpo inspect pairs.jsonl --model google/gemma-2-2b-it --adapter runs/lora/model',
  ],
});

export type InspectConfig = ConfigOf<typeof inspectSchema>;
