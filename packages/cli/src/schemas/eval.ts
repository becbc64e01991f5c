import { choice, integer, path, text } from './fields';
import { type ConfigOf, commandSchema, type Problem } from './schema';
import {
  API_KEY_NOTE,
  adapter,
  batchSize,
  beta,
  checkLengths,
  dtype,
  encodingFields,
  json,
  judgeMaxTokens,
  maxNewTokens,
  onBadRow,
  precision,
  requestFields,
  temperature,
  topP,
} from './shared';

/** For each kind of evaluation, named by the field that selects it: the other fields that it requires. */
const REQUIRED = { annotations: [], pairs: ['model'], baseline: ['judge', 'out'] } as const;

type EvaluationKind = keyof typeof REQUIRED;

const KINDS = Object.keys(REQUIRED) as EvaluationKind[];

/** `wpo eval`. */
export const evalSchema = commandSchema({
  name: 'eval',
  summary: 'evaluate a model: win rates, or rewards of held-out pairs',
  description: [
    'Evaluates a model in one of three ways:',
    '--baseline: a judge compares the answers of --model or --outputs with those of a baseline, in both orders. Writes ' +
      'model_outputs.json, annotations.json and metrics.json. Answers and judgements are kept as they arrive; run the same ' +
      'command again to resume.',
    '--annotations: computes the win rates of judgements that you have already, in the format of alpaca_eval.',
    '--pairs: computes reward accuracy and margin on held-out preference pairs and, with --ref, the KL divergence from the ' +
      'reference.',
  ],
  fields: {
    json,
    baseline: path('file', {
      help: 'the baseline’s answers: a JSON array of {instruction, output, generator, dataset}, or a file of wpo sample',
    }),
    model: path('model', { help: 'the model to evaluate' }),
    adapter,
    dtype,
    precision,
    outputs: path('file', {
      help: 'the model’s answers, instead of --model: a file like --baseline',
    }),
    evalSet: path('file', { help: 'instructions that --model answers (default: those of the baseline)' }),
    generator: text('a name', { help: 'name of the model in the results (default: the last parts of its path)' }),
    judge: path('server', { help: 'address of an OpenAI-compatible server, e.g. http://localhost:8000/v1' }),
    judgeModel: text('the name of a model', { help: 'name of the judge on the server (default: the only one there)' }),
    judgeForm: choice(
      {
        logprobs: 'compare the log-probs of its verdict’s first token, as alpaca_eval’s weighted judge does',
        verdict: 'read the answer that it names, for servers without log-probs',
      },
      { default: 'logprobs', help: 'how the judge’s preference is read from its reply', flag: { placeholder: 'form' } },
    ),
    judgeMaxTokens: judgeMaxTokens('results', '1 for logprobs, 1024 for verdict'),
    judgePrompt: path('file', {
      help: 'text of another judge prompt, with {instruction}, {output_1} (named m) and {output_2} (named M)',
    }),
    out: path('output', {
      help: 'folder to write; if it exists, the evaluation is resumed',
      flag: { placeholder: 'dir' },
    }),
    temperature: temperature(0.7),
    topP: topP(0.9),
    maxNewTokens: maxNewTokens(2048),
    seed: integer({ min: 0, default: 0, help: 'random seed of the answers', flag: { placeholder: 'number' } }),
    batchSize,
    ...requestFields,
    annotations: path('file', {
      help: 'judged answers, a JSON array of {instruction, output_1, output_2, preference, …}',
    }),
    pairs: path('dataset', { help: 'held-out preference pairs: JSONL, or a JSON array' }),
    ref: path('model', { help: 'the reference model; without it, rewards are β log π' }),
    beta: { ...beta, help: 'β: the factor of the log-ratio in a reward' },
    klPrompts: integer({
      min: 0,
      default: 16,
      help: 'prompts for which the model draws two answers each, to estimate the KL divergence',
    }),
    ...encodingFields,
    onBadRow,
  },
  groups: {
    'Comparing with a baseline': [
      'baseline',
      'model',
      'adapter',
      'dtype',
      'precision',
      'outputs',
      'evalSet',
      'generator',
      'judge',
      'judgeModel',
      'judgeForm',
      'judgeMaxTokens',
      'judgePrompt',
      'out',
      'promptFormat',
      'systemRole',
      'temperature',
      'topP',
      'maxNewTokens',
      'seed',
      'batchSize',
      'request',
      'headers',
      'concurrency',
      'timeout',
      'retries',
    ],
    'Judgements that you have': ['annotations'],
    'Held-out pairs': [
      'pairs',
      'ref',
      'dtype',
      'precision',
      'beta',
      'klPrompts',
      'completion',
      'promptFormat',
      'systemRole',
      'truncation',
      'maxLength',
      'maxPromptLength',
      'onBadRow',
    ],
    Output: ['json'],
  },
  check(config, name): Problem[] {
    const given = KINDS.filter((kind) => config[kind] !== undefined);
    const [kind] = given;
    if (kind === undefined || given.length > 1) {
      const expected = `exactly one of ${KINDS.map(name).join(', ')}`;
      return [{ field: kind ?? 'baseline', expected, found: given.map(name).join(' and ') || 'none of them' }];
    }
    if (config.adapter !== undefined && config.model === undefined) {
      return [{ field: 'adapter', expected: `${name('model')} with it`, found: `no ${name('model')}` }];
    }
    const missing = REQUIRED[kind].filter((field) => config[field] === undefined);
    if (missing.length === 0) return kind === 'pairs' ? checkLengths(config, name) : [];
    return [
      {
        field: kind,
        expected: `${REQUIRED[kind].map(name).join(' and ')} with it`,
        found: `no ${missing.map(name).join(' and no ')}`,
      },
    ];
  },
  notes: [API_KEY_NOTE],
  examples: [
    'wpo eval --model runs/a/model --baseline gpt4_1106_preview.json --judge http://localhost:8000/v1 --out runs/a/eval',
    'wpo eval --annotations annotations.json --json',
    'wpo eval --model runs/a/model --ref models/gemma-2-2b-it --pairs heldout.jsonl',
  ],
});

/** The configuration of `wpo eval`. @interface */
export type EvalConfig = { [K in keyof ConfigOf<typeof evalSchema>]: ConfigOf<typeof evalSchema>[K] };

/** An `EvalConfig` that has values for these fields. */
export type EvalConfigWith<K extends keyof EvalConfig> = EvalConfig & Required<Pick<EvalConfig, K>>;
