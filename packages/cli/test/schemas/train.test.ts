import { resolve } from 'node:path';
import { fc, test as property } from '@fast-check/vitest';
import type { LossType } from '@wpo/loss';
import { expect, test } from 'vitest';
import { decidingValues } from '../../src/schemas/schema';
import { readTrainConfig, trainSchema } from '../../src/schemas/train';
import { configYaml, parseConfig } from '../../src/schemas/yaml-config';

const least = 'model_name_or_path: m\ntrain_file: t.jsonl\noutput_dir: out\n';
const parse = (yaml: string, set: string[] = []) => parseConfig(trainSchema, yaml, { file: '/runs/run.yaml', set });
const problems = (yaml: string, set: string[] = []) => {
  try {
    parse(yaml, set);
  } catch (error) {
    return (error as Error).message.split('\n');
  }
  throw new Error('no problem found');
};

test('three keys are required; the others have the documented defaults', () => {
  expect(parse(least)).toEqual({
    modelNameOrPath: '/runs/m',
    trainFile: '/runs/t.jsonl',
    outputDir: '/runs/out',
    dtype: 'auto',
    precision: 'float32',
    usePeft: false,
    loraR: 16,
    loraAlpha: 32,
    loraDropout: 0,
    loraTargetModules: ['q_proj', 'v_proj'],
    useRslora: false,
    useDora: false,
    beta: 0.1,
    lossType: ['sigmoid'],
    labelSmoothing: 0,
    fDivergenceType: 'reverse_kl',
    fAlphaDivergenceCoef: 0.5,
    referenceFree: false,
    discopopTau: 0.05,
    simpoGamma: 0.5,
    cpoAlpha: 1,
    desirableWeight: 1,
    undesirableWeight: 1,
    bcoDelta: 0,
    useWeighting: true,
    alignment: 'sampled',
    clamp: true,
    temperature: 1,
    attached: false,
    promptFormat: 'messages',
    systemRole: 'error',
    mixing: 'cap',
    precomputeRefLogProbs: true,
    completion: 'paper',
    truncation: 'paper',
    maxLength: 2048,
    maxPromptLength: 1800,
    onBadRow: 'error',
    distTimeout: 1800,
    learningRate: 1e-6,
    lrSchedulerType: 'linear',
    warmupRatio: 0,
    warmupSteps: 0,
    numTrainEpochs: 1,
    maxSteps: -1,
    perDeviceTrainBatchSize: 1,
    gradientAccumulationSteps: 1,
    perDeviceEvalBatchSize: 1,
    activationCheckpointing: 'auto',
    maxGradNorm: 1,
    optimizerInBwd: false,
    weightDecay: 0,
    optim: 'adamw_torch',
    offloadOptimizer: 'none',
    offloadGradients: 'none',
    sharding: 'none',
    offloadActivations: 'none',
    adamBeta1: 0.9,
    adamBeta2: 0.999,
    adamEpsilon: 1e-8,
    seed: 42,
    shuffle: true,
    loggingSteps: 10,
    saveSteps: 500,
    reportSamples: 3,
    reportTo: 'none',
    saveTotalLimit: 2,
    loadBestModelAtEnd: false,
    stopOnCollapse: false,
    skipNonfinite: 0,
    pushToHub: false,
  });
});

test('offload_optimizer needs an optimizer with moments', () => {
  expect(problems(`${least}offload_optimizer: cpu\noptim: sgd\n`)).toEqual([
    '/runs/run.yaml:4: offload_optimizer: expected none with optim sgd, found cpu. It has no moments of the size of the weights.',
  ]);
});

test.each([
  ['optim: adafactor', 'optim adafactor', 'Its updates read whole weights. Use another.'],
  ['optimizer_in_bwd: true\nmax_grad_norm: 0', 'optimizer_in_bwd', 'Gradients are summed after the backward pass.'],
  ['offload_gradients: cpu', 'offload_gradients cpu', 'Gradients are summed where they were computed.'],
  [
    'dtype: bfloat16\nmaster_weights: stochastic',
    'master_weights stochastic',
    'Stochastic rounding depends on the place of a value in its weight, which is updated in parts. Use exact.',
  ],
])('sharding is refused with %s', (yaml, setting, hint) => {
  expect(problems(`${least}sharding: zero1\n${yaml}\n`)).toEqual([
    `/runs/run.yaml:4: sharding: expected none with ${setting}, found zero1. ${hint}`,
  ]);
});

test('activation_checkpointing: never leaves no inputs to offload', () => {
  expect(problems(`${least}activation_checkpointing: never\noffload_activations: cpu\n`)).toEqual([
    '/runs/run.yaml:5: offload_activations: expected none with activation_checkpointing never, found cpu. Only the inputs of layers that ' +
      'are recomputed are offloaded. Use auto or always.',
  ]);
});

test('optimizer_in_bwd leaves no gradients to offload', () => {
  expect(problems(`${least}optimizer_in_bwd: true\nmax_grad_norm: 0\noffload_gradients: cpu\n`)).toEqual([
    '/runs/run.yaml:6: offload_gradients: expected none with optimizer_in_bwd, found cpu. It frees the gradients of a layer in the backward ' +
      'pass, so none are left to offload.',
  ]);
});

test('optimizer_in_bwd needs max_grad_norm: 0', () => {
  expect(problems(`${least}optimizer_in_bwd: true\n`)).toEqual([
    '/runs/run.yaml: max_grad_norm: expected 0 with optimizer_in_bwd, found 1. Clipping needs the norm of all gradients before the first ' +
      'update, so all would be held.',
  ]);
  expect(parse(`${least}optimizer_in_bwd: true\nmax_grad_norm: 0\n`)).toMatchObject({ optimizerInBwd: true });
});

test('an unknown key is an error that names its line and the most similar key', () => {
  expect(problems(`${least}# a comment\nlearning_rte: 1e-6\n`)).toEqual([
    '/runs/run.yaml:5: learning_rte: unknown key. Did you mean "learning_rate"? `wpo train --help` lists all keys.',
  ]);
});

const DATA =
  'the path of a file or folder, a glob, or org/name on the Hugging Face Hub, or a list of {path, split, columns}';

test.each([
  ['beta: fast', 'beta: expected a number above 0, found the text "fast". The default is 0.1.'],
  ['beta: 0', 'beta: expected a number above 0, found 0. The default is 0.1.'],
  [
    'learning_rate: "1e-6"',
    'learning_rate: expected a number above 0, at most 1, found the text "1e-6". Remove the quotes.',
  ],
  ['max_length: 20.5', 'max_length: expected a whole number of 2 or more, found 20.5. The default is 2048.'],
  ['clamp: yes', 'clamp: expected true or false, found the text "yes". Write true.'],
  ['warmup_ratio: 1.5', 'warmup_ratio: expected a number from 0 to 1, found 1.5. The default is 0.'],
  [
    'alignment: greed',
    'alignment: expected one of sampled, greedy, none, found the text "greed". Did you mean "greedy"?',
  ],
  ['eval_split: 1.5', 'eval_split: expected a share between 0 and 1, or a whole number of pairs, found 1.5.'],
  ['eval_file: [a]', `eval_file: expected ${DATA}, found ["a"].`],
  ['eval_file: [{path: a, share: 2}]', `eval_file: expected ${DATA}, found [{"path":"a","share":2}].`],
  ['eval_file: 3', `eval_file: expected ${DATA}, found 3. Put it in quotes.`],
  ['learning_rate: .inf', 'learning_rate: expected a number above 0, at most 1, found Infinity. The default is 1e-6.'],
  ['adam_beta2: 1', 'adam_beta2: expected a number from 0 to below 1, found 1. The default is 0.999.'],
  [
    'adam_epsilon: 1e-6\noptim: lion_32bit',
    'adam_epsilon: expected no value with optim lion_32bit, found 0.000001. It is an option of adamw_torch and adamw_bnb_8bit.',
  ],
  [
    'optim: adamw',
    'optim: expected one of adamw_torch, adamw_bnb_8bit, lion_32bit, adafactor, sgd, found the text "adamw". Did you mean "adamw_torch"?',
  ],
])('the error of %j says line, key, expected and found value', (line, message) => {
  expect(problems(least + line)).toEqual([`/runs/run.yaml:4: ${message}`]);
});

test('all problems are reported at once, a missing key with its meaning', () => {
  expect(problems('train_file: t\noutput_dir: o\nbeta: -1\nseeds: 3\n')).toEqual([
    '/runs/run.yaml:4: seeds: unknown key. Did you mean "seed"? `wpo train --help` lists all keys.',
    '/runs/run.yaml: model_name_or_path: expected the path of a folder, or org/name on the Hugging Face Hub, found nothing. ' +
      'This key is required: the Gemma-2 model to train: a folder in Hugging Face’s format, or org/name on the Hub.',
    '/runs/run.yaml:3: beta: expected a number above 0, found -1. The default is 0.1.',
  ]);
});

test.each([
  ['max_length: 100\nmax_prompt_length: 100', ':5: max_prompt_length: expected less than max_length, 100, found 100.'],
  ['eval_file: e\neval_split: 0.1', ':5: eval_split: expected no value with eval_file, found 0.1. Remove one'],
  [
    'dtype: bfloat16',
    ':4: dtype: expected auto or float32, or master_weights with it, found bfloat16. If weights were rounded to the nearest bfloat16, most would never change: the next one to 0.02 is 1.2e-4 away, and a step at a learning rate of 1e-6 moves a weight by 1e-6. The type of the saved model is save_dtype.',
  ],
  [
    'master_weights: exact',
    ':4: master_weights: expected no value without dtype: bfloat16, found exact. Weights that are trained are float32 otherwise, and need no other copy.',
  ],
  [
    'master_weights: stochastic\ndtype: bfloat16\nuse_peft: true',
    ':4: master_weights: expected no value with an adapter, whose weights are float32, found stochastic.',
  ],
  [
    'eval_steps: 5',
    ':4: eval_steps: expected eval_file, eval_split or eval_prompts with it, found nothing to evaluate.',
  ],
])('keys that contradict each other are an error: %j', (lines, message) => {
  expect(problems(least + lines)[0]).toContain(message);
});

test('the weights under an adapter may be bfloat16, and trained ones with master weights', () => {
  expect(parse(`${least}dtype: bfloat16\nuse_peft: true\n`).dtype).toBe('bfloat16');
  expect(parse(`${least}dtype: bfloat16\nmaster_weights: exact\n`).masterWeights).toBe('exact');
});

test.each([
  ['max_length: 1024', 900],
  ['max_length: 2', 1],
  ['max_length: 4096', 1800],
  ['max_length: 1024\nmax_prompt_length: 512', 512],
])('with %j the limit of a prompt is %i', (lines, expected) => {
  expect(parse(`${least}${lines}\n`).maxPromptLength).toBe(expected);
});

test('a limit of a prompt above the default max_length is the key that is wrong', () => {
  expect(problems(`${least}max_prompt_length: 3000\n`)).toEqual([
    '/runs/run.yaml:4: max_prompt_length: expected less than max_length, 2048, found 3000. The tokens above it are for the answers.',
  ]);
});

test('max_prompt_length may be above max_length if the truncation does not use it', () => {
  expect(parse(`${least}max_length: 100\ntruncation: keep_start\n`).maxLength).toBe(100);
});

test('a key without a value, and null, leave the default', () => {
  expect(parse(`${least}beta:\neval_file: null\n`)).toEqual(parse(least));
});

test('--set overrides the file, and reads its value as YAML', () => {
  const config = parse(`${least}beta: 0.5\neval_split: 3\n`, [
    'beta=1e-2',
    'shuffle=false',
    'eval_split=',
    'alignment=none',
  ]);
  expect(config).toMatchObject({ beta: 0.01, shuffle: false, alignment: 'none' });
  expect(config.evalSplit).toBeUndefined();
});

test('problems of --set are reported with --set in place of the line', () => {
  expect(problems(least, ['beta=x'])[0]).toMatch(/^--set beta: expected a number above 0, found the text "x"\./);
  expect(problems(least, ['beat=1'])[0]).toMatch(/^--set beat: unknown key. Did you mean "beta"\?/);
  expect(problems(least, ['beta'])).toEqual(['--set beta: expected key=value, e.g. --set learning_rate=1e-6.']);
});

test('paths in the file start from its folder, those of --set from the working directory', () => {
  const config = parseConfig(trainSchema, 'model_name_or_path: ../m\ntrain_file: /data/t\noutput_dir: out\n', {
    file: 'some/run.yaml',
    set: ['output_dir=here'],
  });
  expect(config.modelNameOrPath).toBe(resolve('m'));
  expect(config.trainFile).toBe('/data/t');
  expect(config.outputDir).toBe(resolve('here'));
});

test('invalid YAML is an error that names its line', () => {
  expect(problems('beta: 1\nbeta: 2\n')).toEqual([
    '/runs/run.yaml:2: beta: expected each key once, found it twice. Remove one of the two.',
  ]);
  expect(problems('a: [1,\nb: 2')[0]).toMatch(/^\/runs\/run.yaml:\d: this is not valid YAML: /);
  expect(problems('- beta\n')).toEqual(['/runs/run.yaml: expected lines of the form "key: value", found no keys.']);
});

test('a missing file is an error', async () => {
  await expect(readTrainConfig('/nowhere/run.yaml')).rejects.toThrow(
    '/nowhere/run.yaml: expected a YAML file, found no such file.',
  );
});

property.prop([
  fc.record({
    beta: fc.double({ min: 1e-300, max: 1e300, noNaN: true }),
    learningRate: fc.double({ min: 1e-12, max: 1, noNaN: true }),
    seed: fc.nat(),
    lossType: fc.subarray<LossType>(['sigmoid', 'sft', 'hinge'], { minLength: 1 }),
    clamp: fc.boolean(),
    outputDir: fc.string({ minLength: 1, unit: 'grapheme' }).map((name) => `/${name.replaceAll('/', '')}`),
  }),
])('a config written as YAML reads back equal', (keys) => {
  const config = { ...parse(least), ...keys, outputDir: resolve(keys.outputDir) };
  expect(parse(configYaml(trainSchema, config))).toEqual(config);
});

test('a resumed run must have the same values of these keys', () => {
  expect(Object.keys(decidingValues(trainSchema, parse(least))).sort()).toEqual(
    [
      ...[
        'adam_beta1',
        'adam_beta2',
        'adam_epsilon',
        'alignment',
        'attached',
        'bco_delta',
        'beta',
        'clamp',
        'completion',
      ],
      ...[
        'cpo_alpha',
        'desirable_weight',
        'discopop_tau',
        'dtype',
        'eval_split',
        'f_alpha_divergence_coef',
        'f_divergence_type',
      ],
      ...[
        'gradient_accumulation_steps',
        'kl',
        'label_smoothing',
        'ld_alpha',
        'learning_rate',
        'loss_type',
        'loss_weights',
      ],
      ...[
        'lr_scheduler_type',
        'master_weights',
        'max_grad_norm',
        'max_length',
        'max_prompt_length',
        'max_steps',
        'max_tokens_per_pack',
      ],
      ...[
        'num_processes',
        'num_train_epochs',
        'offload_gradients',
        'optim',
        'optimizer_in_bwd',
        'per_device_train_batch_size',
        'precision',
        'precompute_ref_log_probs',
        'prompt_format',
        'reference_free',
        'seed',
        'shuffle',
      ],
      ...[
        'simpo_gamma',
        'system_role',
        'temperature',
        'truncation',
        'undesirable_weight',
        'use_weighting',
        'warmup_ratio',
        'warmup_steps',
      ],
      ...['lora_alpha', 'lora_dropout', 'lora_r', 'lora_target_modules', 'use_dora', 'use_peft', 'use_rslora'],
      'weight_decay',
    ].sort(),
  );
});

test('columns and splits are read, and an unknown field is an error', () => {
  const config = parse(`${least}columns: {prompt: q, chosen: a}\ndataset_train_split: train_sft\n`);
  expect(config).toMatchObject({ columns: { prompt: 'q', chosen: 'a' }, datasetTrainSplit: 'train_sft' });
  expect(parse(configYaml(trainSchema, config))).toEqual(config);
  expect(parse(least, ['columns={prompt: q}']).columns).toEqual({ prompt: 'q' });
  const expected =
    'expected column names for any of prompt, system, chosen, rejected, id, weight, score_chosen, score_rejected';
  expect(problems(`${least}columns: {question: q}\n`)).toEqual([
    `/runs/run.yaml:4: columns: ${expected}, found {"question":"q"}.`,
  ]);
  expect(problems(`${least}columns: q\n`)[0]).toContain(`columns: ${expected}, found the text "q".`);
});

test.each([
  ['learning_rate: 1e39', 'learning_rate: expected a number above 0, at most 1, found 1e+39'],
  ['adam_epsilon: 0', 'adam_epsilon: expected a number from 1e-16 to 1, found 0'],
  ['weight_decay: 1e9', 'weight_decay: expected a number from 0 to 1, found 1000000000'],
  ['max_steps: 1e12', 'max_steps: expected a whole number from -1 to 1000000000, found 1000000000000'],
])('%s is out of range', (line, message) => {
  expect(problems(least + line)[0]).toContain(`/runs/run.yaml:4: ${message}`);
});

const best = `${least}eval_split: 2\nload_best_model_at_end: true\n`;

test('load_best_model_at_end takes the metric with and without eval_', () => {
  const keys =
    'eval_steps: 10\nsave_steps: 20\nmetric_for_best_model: eval_rewards/margins\ngreater_is_better: false\n';
  expect(parse(best + keys)).toMatchObject({ metricForBestModel: 'eval_rewards/margins', greaterIsBetter: false });
  expect(problems(`${best}${keys.replace('margins', 'margin')}`)[0]).toContain(
    'metric_for_best_model: expected one of loss,',
  );
});

test.each([
  [
    best,
    'load_best_model_at_end: expected eval_steps with it, found nothing. Set eval_steps and, as a multiple of it, save_steps.',
  ],
  [
    `${best}eval_steps: 10\nsave_steps: 25\n`,
    'save_steps: expected a multiple of eval_steps, 10, with load_best_model_at_end, found 25. Only a checkpoint that was evaluated can be the best.',
  ],
  [
    `${least}greater_is_better: true\n`,
    'greater_is_better: expected no value without load_best_model_at_end: true, found true',
  ],
])('%j could not load a best model', (yaml, message) => {
  expect(problems(yaml).join('\n')).toContain(message);
});
