import type { Columns } from '@wpo/data';
import { defaultMaxPromptLength } from '@wpo/internal/prompt-length';
import { LOSS_OPTIONS, OPTION_DESCRIPTIONS } from '@wpo/loss/scalar';
import * as v from 'valibot';
import { boolean, choice, field, integer, number, path, text } from './fields';
import type { Affects, Field, FieldOptions, JsonSchema, Kind, Naming, Parsed, Problem } from './schema';

// Fields that several commands have.

/** Whether a chat template renders prompts, or did so already. */
export const promptFormat = choice(
  {
    messages: 'text, which is one user message, or a list of messages; the chat template renders it',
    templated: 'text that a chat template rendered already, and that is tokenized as it is',
  },
  { default: 'messages', help: 'what the prompts of the rows are' },
);

/** What happens to system turns. */
export const systemRole = choice(
  {
    error: 'the chat template renders them; Gemma’s refuses them',
    merge: 'put their text before the first user message, as Gemma 3 does',
  },
  { default: 'error', help: 'what to do with system turns of conversations' },
);

/** How pairs become tokens. */
export const encodingFields = {
  completion: choice(
    {
      paper: 'as in the WPO authors’ code: the answer begins with the header of the model’s turn and ends in <eos>',
      trl: 'as in TRL: the header belongs to the prompt; the answer ends in <end_of_turn> and a newline (if prompt, chosen and rejected are plain strings, no chat template is applied and answers end in EOS)',
      turn: 'what a model generates: the header belongs to the prompt; the answer ends in <end_of_turn>',
    },
    { default: 'paper', help: 'which tokens of the chat template belong to the answer' },
  ),
  promptFormat,
  systemRole,
  truncation: choice(
    {
      paper:
        'cut the start of the prompt down to max_prompt_length; if that is not enough, cut the ends of the answers',
      keep_start: 'cut the end of prompt and answer at max_length',
    },
    { default: 'paper', help: 'how pairs longer than max_length are shortened' },
  ),
  maxLength: integer({
    min: 2,
    default: 2048,
    help: 'maximum tokens of a prompt and one answer together',
    flag: { placeholder: 'tokens' },
  }),
  maxPromptLength: integer({
    min: 1,
    default: 1800,
    adapt: ({ maxLength }) => defaultMaxPromptLength(maxLength as number),
    help: 'maximum tokens of a prompt that is cut, with truncation paper; the default is less if max_length is below 2048',
    flag: { placeholder: 'tokens' },
  }),
};

/** Finds length limits that contradict each other. */
export function checkLengths(
  { truncation, maxLength, maxPromptLength }: Parsed<typeof encodingFields>,
  name: Naming,
): Problem[] {
  if (truncation !== 'paper' || maxPromptLength < maxLength) return [];
  const expected = `less than ${name('maxLength')}, ${maxLength}`;
  const hint = 'The tokens above it are for the answers.';
  return [{ field: 'maxPromptLength', expected, found: String(maxPromptLength), hint }];
}

/** The adapter of `model`. */
const adapterOptions = {
  help: 'a LoRA adapter of the model, in PEFT’s format: a folder, or org/name on the Hub',
  flag: { placeholder: 'adapter' },
};
export const adapter = path('model', adapterOptions);
export const requiredAdapter = path('model', { required: true, ...adapterOptions });

/** What happens to rows that cannot be read. */
export const onBadRow = choice(
  { error: 'stop with an error', skip: 'leave the row out, and report how many were left out' },
  { default: 'error', affects: 'files', help: 'what to do with a row that cannot be used' },
);

export const split = text('the name of a split', {
  affects: 'files',
  help: 'split to read, if the pairs are a folder or a data set (default: train_prefs, else train)',
});

/** Listed here and not imported from @wpo/data, so that `wpo --help` loads no library. */
const COLUMNS: Readonly<Record<keyof Columns, true>> = {
  prompt: true,
  system: true,
  chosen: true,
  rejected: true,
  id: true,
  weight: true,
  score_chosen: true,
  score_rejected: true,
};
const columnNames = Object.keys(COLUMNS) as (keyof Columns)[];
const column = v.optional(v.pipe(v.string(), v.nonEmpty()));

const columnsJson = {
  type: 'object',
  properties: Object.fromEntries(columnNames.map((name) => [name, { type: 'string' }])),
  additionalProperties: false,
};
const columnsSchema = v.strictObject(
  Object.fromEntries(columnNames.map((name) => [name, column])) as Record<keyof Columns, typeof column>,
) as v.GenericSchema<unknown, Columns>;

const columnsField = <H extends string>(help: H): Field<Columns, false> =>
  field(
    {
      expected: `column names for any of ${columnNames.join(', ')}`,
      json: columnsJson,
      schema: columnsSchema,
      placeholder: 'field=column',
      fromText(text, before) {
        const [, name, column] = /^([^=]+)=(.+)$/s.exec(text) ?? [];
        return name === undefined ? text : { ...(before as Columns | undefined), [name]: column };
      },
    },
    { affects: 'files', help },
  );

/** One source of a mixture of pairs. */
export interface PairSource {
  readonly path: string;
  /** Part of the epoch, relative to the shares of the others. */
  readonly share?: number | undefined;
  readonly split?: string | undefined;
  readonly columns?: Columns | undefined;
}

/** The value of a field of sources as a list; empty without a value. */
export const sourcesOf = (value: string | readonly PairSource[] | undefined): readonly PairSource[] =>
  typeof value === 'string' ? [{ path: value }] : (value ?? []);

const sourceText = v.pipe(v.string(), v.nonEmpty());
const sourceFields = { path: sourceText, split: v.optional(sourceText), columns: v.optional(columnsSchema) };
const share = v.optional(v.pipe(v.number(), v.finite(), v.gtValue(0)));

/** Pairs of one source, or of several. @param hasShares whether the sources of a list may have shares */
export const pairSources = <const O extends FieldOptions<string | readonly PairSource[]>>(
  options: O,
  { hasShares }: { readonly hasShares: boolean },
) =>
  field(
    {
      expected:
        'the path of a file or folder, a glob, or org/name on the Hugging Face Hub, or a list of ' +
        (hasShares ? '{path, share, split, columns}, where share is a number above 0' : '{path, split, columns}'),
      json: {
        anyOf: [
          { type: 'string', minLength: 1 },
          {
            type: 'array',
            minItems: 1,
            items: {
              type: 'object',
              required: ['path'],
              properties: {
                path: { type: 'string', minLength: 1 },
                ...(hasShares && { share: { type: 'number', exclusiveMinimum: 0 } }),
                split: { type: 'string', minLength: 1 },
                columns: columnsJson,
              },
              additionalProperties: false,
            },
          },
        ],
      },
      schema: v.union([
        sourceText,
        v.pipe(v.array(v.strictObject(hasShares ? { ...sourceFields, share } : sourceFields)), v.minLength(1)),
      ]) as v.GenericSchema<unknown, string | readonly PairSource[]>,
      placeholder: 'data',
      fromText: (given) => given,
    },
    options,
    'dataset',
  );

export const columns = columnsField(
  'column that holds a field, if the file’s columns have other names; repeat the flag for more fields',
);

export const yamlColumns = columnsField(
  'columns that hold the fields, e.g. {prompt: question, chosen: a, rejected: b} (default: detected from the column names)',
);

/** Options of a pair's weight and loss that `weigh` and `train` share. */
export const beta = number({ ...LOSS_OPTIONS.beta, help: OPTION_DESCRIPTIONS.beta });
export const alignment = choice(
  {
    sampled: 'log Σ p², the expected log-prob of a sampled token; the WPO paper’s choice',
    greedy: 'the log-prob of the most likely token',
    none: '0: weights are the answers’ likelihoods per token',
  },
  { default: 'sampled', help: 'the term that is subtracted from each token’s log-prob in a pair’s weight' },
);

/** How the weights of a model that is loaded are held in memory: transformers' name. */
export const dtype = choice(
  {
    auto: 'that of the model’s files, or float32 for float16',
    float32: '4 bytes per parameter',
    bfloat16: '2 bytes per parameter; other types are rounded to it',
  },
  { default: 'auto', help: 'number type of the weights in memory', flag: { placeholder: 'type' } },
);

/** The precision of matrix products and activations. */
export const precision = choice(
  {
    float32: 'all of it float32',
    bfloat16:
      'operands of products and outputs of linear layers rounded to bfloat16, all else float32: half the memory of activations, ' +
      'and faster on CPUs and GPUs with bfloat16 units',
  },
  { default: 'float32', help: 'precision of matrix products and activations', flag: { placeholder: 'type' } },
);

export const json = boolean({ affects: 'nothing', help: 'print the results as JSON' });

/** How answers are drawn from a model. */
export const temperature = <const D extends number>(value: D) =>
  number({ min: 0, default: value, help: 'sampling temperature; 0 takes the most likely token' });
const likelyTokens = {
  above: 0,
  max: 1,
  help: 'draw from the most likely tokens whose probabilities add up to this',
} as const;
export const topP = <const D extends number>(value: D) => number({ ...likelyTokens, default: value });
/** Limits that `wpo generate` and `wpo chat` leave off by default. */
export const samplingLimits = {
  topK: integer({ min: 1, help: 'draw from the k most likely tokens', flag: { placeholder: 'tokens' } }),
  topP: number(likelyTokens),
};
export const maxNewTokens = <const D extends number>(value: D) =>
  integer({
    min: 1,
    max: 2 ** 20,
    default: value,
    help: 'maximum tokens of an answer',
    flag: { placeholder: 'tokens' },
  });
export const batchSize = integer({
  min: 1,
  default: 8,
  affects: 'nothing',
  help: 'answers that a local model generates at once',
});

const record = <T>(
  expected: string,
  placeholder: string,
  values: v.GenericSchema<unknown, T>,
  json: JsonSchema,
  fromText: (text: string) => unknown,
): Kind<Readonly<Record<string, T>>> => ({
  expected,
  json: { type: 'object', additionalProperties: json },
  schema: v.record(v.pipe(v.string(), v.nonEmpty()), values),
  placeholder,
  fromText(text, before) {
    const [, name, value] = /^([^=]+)=(.*)$/s.exec(text) ?? [];
    return name === undefined || value === undefined
      ? text
      : { ...(before as Readonly<Record<string, T>> | undefined), [name]: fromText(value) };
  },
});

const jsonOrText = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
};

/** The longest reply of a judge. It changes no verdict, only how many there are. */
export const judgeMaxTokens = <const A extends Affects>(affects: A, defaults: string) =>
  integer({
    min: 1,
    max: 10_000_000,
    affects,
    help: `token limit of a judge’s reply, reasoning included (default: ${defaults}); raise it if replies are cut off`,
    flag: { placeholder: 'tokens' },
  });

/** How requests are sent to servers. */
export const requestFields = {
  request: field(
    record('fields and their values, e.g. reasoning_effort=low', 'field=value', v.unknown(), {}, jsonOrText),
    {
      help: 'fields to add to the body of each request, or to replace; null removes one, e.g. temperature=null; repeat the flag for more fields',
    },
  ),
  headers: field(
    {
      ...record('headers as name=value', 'name=value', v.string(), { type: 'string' }, (text) => text),
      isSecret: true,
    },
    {
      affects: 'nothing',
      // biome-ignore lint/suspicious/noTemplateCurlyInString: written by the user
      help: 'headers to send with each request; ${NAME} in a value is that environment variable, e.g. api-key=${AZURE_KEY}; repeat the flag for more headers',
    },
  ),
  concurrency: integer({
    min: 1,
    max: 10_000,
    default: 32,
    affects: 'nothing',
    help: 'requests sent to a server at once',
  }),
  timeout: number({
    above: 0,
    max: 1_000_000,
    default: 600,
    affects: 'nothing',
    help: 'time limit for one request',
    flag: { placeholder: 'seconds' },
  }),
  retries: integer({
    min: 0,
    max: 1000,
    default: 6,
    affects: 'nothing',
    help: 'how often a failed request is repeated',
  }),
};

/** A note for commands that send requests to servers. */
export const API_KEY_NOTE =
  'The API key of a server is read from the environment: WPO_API_KEY, or else OPENAI_API_KEY.';

export const outputFile = path('output', { required: true, help: 'file to write', flag: { placeholder: 'file' } });
export const resumableFile = path('output', {
  required: true,
  help: 'file to write; if it exists, the missing rows are added',
  flag: { placeholder: 'file' },
});

/** `--set key=value`, which may be repeated. */
export const settings = (help: string, placeholder: string) =>
  field(
    {
      expected: placeholder,
      json: { type: 'array', items: { type: 'string' } },
      schema: v.array(v.string()) as v.GenericSchema<unknown, readonly string[]>,
      placeholder,
      fromText: (text, before) => [...((before as readonly string[] | undefined) ?? []), text],
    },
    { help },
  );

/** `--json`. `main` looks for it. */
export const jsonFlag = boolean({
  help: 'print events to stdout, each a line of JSON; all other output goes to stderr. docs/events.md lists the events',
});
