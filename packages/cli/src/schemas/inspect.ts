import { integer, path } from './fields';
import { type ConfigOf, commandSchema, type Fields, type Naming, type Problem } from './schema';
import { adapter, checkLengths, columns, dtype, encodingFields, json, precision, settings, split } from './shared';
import { formatValue } from './yaml-config';

/** `wpo inspect`. */
export const inspectSchema = commandSchema({
  name: 'inspect',
  summary: 'show statistics of preference pairs',
  description: [
    'Prints what a file of preference pairs contains, before you train on it: number of pairs, lengths, how much the ' +
      'length limits would cut, score margins, sources, how often the chosen answer is the longer one, repeated rows, and ' +
      'the rows worth a look. Lengths are in tokens with --tokenizer or --model, in words without.',
    'Of the YAML file of wpo train, it shows each source, the held-out pairs, and the pairs of an epoch, as training takes them, with the ' +
      'tokenizer and the limits of that file.',
  ],
  fields: {
    file: path('dataset', {
      required: true,
      help: 'preference pairs: a file, folder or glob, or org/name on the Hugging Face Hub; or the YAML file of wpo train',
      flag: { positional: true },
    }),
    set: settings('set a key of the YAML file; may be repeated', 'key=value'),
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
    if (isRunFile(config.file)) return checkRunFile(config, name);
    if (config.set !== undefined) {
      return [{ field: 'set', expected: 'the YAML file of wpo train with it', found: config.file }];
    }
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
    'wpo inspect recipes/demo.yaml --set eval_split=20',
    'wpo inspect pairs.jsonl --model google/gemma-2-2b-it --adapter runs/lora/model',
  ],
});

/** The configuration of `wpo inspect`. @interface */
export type InspectConfig = { [K in keyof ConfigOf<typeof inspectSchema>]: ConfigOf<typeof inspectSchema>[K] };

/** Whether a file to inspect is a run's configuration. */
export const isRunFile = (file: string): boolean => /\.ya?ml$/i.test(file);

/** Flags that a run's file does not replace. */
const BESIDE_RUN_FILE: readonly string[] = ['file', 'set', 'worst', 'html', 'json'];

/** Refuses flags that would contradict the configuration of a run. */
function checkRunFile(config: Readonly<Record<string, unknown>>, name: Naming): Problem[] {
  const fields: Fields = inspectSchema.fields;
  const isDefault = (key: string) => {
    const { adapt, default: value } = fields[key]!;
    return config[key] === (adapt === undefined ? value : adapt(config));
  };
  const given = Object.keys(fields).filter((key) => !BESIDE_RUN_FILE.includes(key) && !isDefault(key));
  return given.map((key) => ({
    ...{ field: key, expected: 'no value with the YAML file of wpo train', found: formatValue(config[key]) },
    hint: `Set keys of that file with ${name('set')} key=value.`,
  }));
}
