import * as v from 'valibot';
import { field, integer, path, text } from './fields';
import { type ConfigOf, commandSchema } from './schema';
import {
  API_KEY_NOTE,
  adapter,
  batchSize,
  dtype,
  maxNewTokens,
  precision,
  promptFormat,
  requestFields,
  resumableFile,
  systemRole,
  temperature,
  topP,
} from './shared';

const seed = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const seedList = v.pipe(
  v.array(seed),
  v.minLength(1),
  v.check((seeds) => new Set(seeds).size === seeds.length),
);

/** `wpo sample`. */
export const sampleSchema = commandSchema({
  name: 'sample',
  summary: 'generate several answers to each prompt',
  description: [
    'Generates one answer for each prompt and seed, with a model on this machine (--model) or with an OpenAI-compatible ' +
      'server (--endpoint). Writes one JSON line per answer, as soon as it is complete: prompt_id, prompt, completion, ' +
      'source, seed, finish_reason, temperature, top_p, max_new_tokens, prompt_format if it is templated, system_role if it is merge, and dtype and precision where they are bfloat16.',
    'Run the same command again to resume: answers that are already in the file are not generated again.',
  ],
  fields: {
    model: path('model', {
      plainNameWith: 'endpoint',
      help: 'the model: a folder, or org/name on the Hugging Face Hub; with --endpoint, its name on the server (default: the only one there)',
    }),
    adapter,
    dtype,
    precision,
    endpoint: path('server', { help: 'address of an OpenAI-compatible server, e.g. http://localhost:8000/v1' }),
    prompts: path('file', {
      required: true,
      help: 'JSONL file of {"prompt": text or messages, "prompt_id": optional}',
    }),
    promptFormat,
    systemRole,
    out: resumableFile,
    perPrompt: integer({
      min: 1,
      help: 'answers per prompt: use only the first seeds (default: all seeds)',
      flag: { short: '-n' },
    }),
    seeds: field(
      {
        expected: 'different whole numbers of 0 or more, e.g. 13,21,42',
        json: { type: ['array', 'integer', 'string'], items: { type: 'integer', minimum: 0 }, uniqueItems: true },
        schema: v.pipe(
          v.union([seedList, seed, v.pipe(v.string(), v.regex(/^\d+(,\d+)*$/))]),
          v.transform((given) => (typeof given === 'string' ? given.split(',').map(Number) : [given].flat())),
          seedList,
        ) as v.GenericSchema<unknown, readonly number[]>,
        placeholder: 'list',
        fromText: (given) => given,
      },
      { default: [13, 21, 42, 79, 100], help: 'random seeds, one answer each' },
    ),
    temperature: temperature(0.8),
    topP: topP(0.95),
    maxNewTokens: maxNewTokens(2048),
    source: text('a name', {
      help: 'name of the model in the rows (default: --adapter or --model as given, or the server’s model)',
    }),
    batchSize,
    ...requestFields,
  },
  check(
    { model, adapter, dtype, precision, endpoint, promptFormat, systemRole, seeds, perPrompt = seeds.length },
    name,
  ) {
    if (model === undefined && endpoint === undefined) {
      return [{ field: 'model', expected: `one of ${name('model')} and ${name('endpoint')}`, found: 'neither' }];
    }
    if (endpoint !== undefined && adapter !== undefined) {
      const hint = `Load the adapter in the server, and give its name there with ${name('model')}.`;
      return [{ field: 'adapter', expected: `no value with ${name('endpoint')}`, found: adapter, hint }];
    }
    if (endpoint !== undefined && dtype !== 'auto') {
      const hint = 'The server has loaded its model.';
      return [{ field: 'dtype', expected: `no value with ${name('endpoint')}`, found: dtype, hint }];
    }
    if (endpoint !== undefined && precision !== 'float32') {
      const hint = 'The server decides how it computes.';
      return [{ field: 'precision', expected: `no value with ${name('endpoint')}`, found: precision, hint }];
    }
    if (endpoint !== undefined && promptFormat === 'templated') {
      const hint = 'The server renders prompts: write what is asked, without control tokens.';
      return [{ field: 'promptFormat', expected: `messages with ${name('endpoint')}`, found: promptFormat, hint }];
    }
    if (endpoint !== undefined && systemRole !== 'error') {
      const hint = 'The server renders prompts.';
      return [{ field: 'systemRole', expected: `no value with ${name('endpoint')}`, found: systemRole, hint }];
    }
    if (perPrompt <= seeds.length) return [];
    return [
      {
        field: 'perPrompt',
        expected: `at most one answer per seed, ${seeds.length}`,
        found: String(perPrompt),
        hint: `Add seeds with ${name('seeds')}.`,
      },
    ];
  },
  notes: [API_KEY_NOTE],
  examples: [
    'wpo sample --model demo/model --prompts prompts.jsonl --out answers.jsonl --max-new-tokens 128',
    'wpo sample --endpoint http://localhost:8000/v1 --prompts prompts.jsonl --out answers.jsonl -n 5 --concurrency 64',
  ],
});

/** The configuration of `wpo sample`. @interface */
export type SampleConfig = { [K in keyof ConfigOf<typeof sampleSchema>]: ConfigOf<typeof sampleSchema>[K] };
