import { lossTypes } from '@wpo/loss';
import { preferencePairLoss } from '@wpo/trainer';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { lossFields, lossOptions } from '../../src/schemas/loss';
import { decidingValues, yamlKey } from '../../src/schemas/schema';
import { trainSchema } from '../../src/schemas/train';
import { configYaml, parseConfig } from '../../src/schemas/yaml-config';

const least = 'model_name_or_path: m\ntrain_file: t.jsonl\noutput_dir: out\n';
const parse = (yaml: string, set: string[] = []) =>
  parseConfig(trainSchema, least + yaml, { file: '/runs/run.yaml', set });
const problems = (yaml: string) => {
  try {
    parse(yaml);
  } catch (error) {
    return (error as Error).message.split('\n');
  }
  throw new Error('no problem found');
};

test('the default is the loss of WPO', () => {
  expect(lossOptions(parse(''))).toEqual({
    beta: 0.1,
    lossType: ['sigmoid'],
    labelSmoothing: 0,
    fDivergenceType: 'reverse_kl',
    fAlphaDivergenceCoef: 0.5,
    refFree: false,
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
  });
});

test('a loss or a list of losses has TRL’s names and options', () => {
  expect(parse('loss_type: simpo').lossType).toEqual(['simpo']);
  const yaml =
    'loss_type: [sigmoid, bco_pair, sft]\nloss_weights: [0.8, 0.2, 1]\nld_alpha: 0.5\nbeta: 0.2\nbco_delta: -1\nattached: true\n';
  expect(lossOptions(parse(yaml))).toMatchObject({
    lossType: ['sigmoid', 'bco_pair', 'sft'],
    lossWeights: [0.8, 0.2, 1],
    ldAlpha: 0.5,
    beta: 0.2,
    bcoDelta: -1,
    attached: true,
  });
  expect(parse('', ['loss_type=[hinge, sft]']).lossType).toEqual(['hinge', 'sft']);
});

test('loss_type: wpo is DPO times the weight, alone and in a list', () => {
  expect(lossOptions(parse('loss_type: wpo'))).toEqual(lossOptions(parse('')));
  expect(parse('loss_type: [wpo, sft]').lossType).toEqual(['sigmoid', 'sft']);
  expect(problems('loss_type: wpo\nuse_weighting: false')).toEqual([
    '/runs/run.yaml:5: use_weighting: expected true with loss_type wpo, found false. wpo is sigmoid times the pair’s weight; ' +
      'without weights, write sigmoid.',
  ]);
});

test.each([
  ['loss_type: sigmod', 'loss_type: expected a loss or a list of losses: dpo, sigmoid, hinge, ipo, '],
  ['loss_type: sigmod', 'found the text "sigmod". Did you mean "sigmoid"?'],
  ['loss_type: [ipo, sftt]', 'found ["ipo","sftt"]. Did you mean "sft" instead of "sftt"?'],
  ['loss_type: 3', 'found 3. The default is sigmoid.'],
  ['loss_type: []', 'found []. The default is sigmoid.'],
  ['loss_weights: [1, 1]', 'loss_weights: expected one number per loss, 1, with loss_type sigmoid, found 2.'],
  ['loss_weights: [a]', 'loss_weights: expected a list of numbers, one per loss, found ["a"].'],
  ['loss_weights: 1', 'loss_weights: expected a list of numbers, one per loss, found 1.'],
  ['f_divergence_type: kl', 'f_divergence_type: expected one of reverse_kl, forward_kl,'],
  ['ld_alpha: 2', 'ld_alpha: expected a number from 0 to 1, found 2.'],
  ['temperature: 0', 'temperature: expected a number above 0, found 0. The default is 1.'],
])('%j is an error that names its line', (yaml, message) => {
  expect(problems(yaml)[0]).toContain('/runs/run.yaml:4: ');
  expect(problems(yaml)[0]).toContain(message);
});

test.each([
  ['loss_type: exo_pair', 'run.yaml: label_smoothing: expected a number above 0 with loss_type exo_pair, found 0.'],
  [
    'loss_type: robust\nlabel_smoothing: 0.5',
    ':5: label_smoothing: expected a number from 0 to 0.4999 with loss_type robust, found 0.5.',
  ],
  [
    'loss_type: [sigmoid, nca_pair]\nf_divergence_type: forward_kl',
    ':5: f_divergence_type: expected reverse_kl with loss_type sigmoid, nca_pair, found forward_kl. Other divergences need',
  ],
  [
    'loss_type: sft\nf_divergence_type: js_divergence',
    ':5: f_divergence_type: expected reverse_kl with loss_type sft, found',
  ],
  [
    'loss_type: kto',
    'run.yaml: kl: expected a number of 0 or more with loss_type kto, found nothing. It is the loss’s',
  ],
  [
    'loss_type: aot\nper_device_train_batch_size: 4',
    'run.yaml: use_weighting: expected false with loss_type aot, found true. aot compares quantiles',
  ],
  [
    'loss_type: aot\nuse_weighting: false',
    'run.yaml: per_device_train_batch_size: expected 2 or more with loss_type aot, found 1.',
  ],
  [
    'loss_type: [aot_unpaired]\nuse_weighting: false\nper_device_train_batch_size: 4\nmax_tokens_per_pack: 99',
    ':7: max_tokens_per_pack: expected no value with loss_type aot_unpaired, found 99.',
  ],
  [
    'loss_type: simpo\nref_model_name_or_path: other',
    ':5: ref_model_name_or_path: expected no value with loss_type simpo, found other. No reference is run.',
  ],
  [
    'reference_free: true\nref_model_name_or_path: other',
    ':5: ref_model_name_or_path: expected no value with reference_free true, found other.',
  ],
  ['loss_type: [simpo, sft]\nld_alpha: 0.5', ':5: ld_alpha: expected no value with loss_type simpo, sft, found 0.5.'],
])('keys that contradict each other, %j, are an error that names both', (yaml, message) => {
  expect(problems(yaml)).toEqual([expect.stringContaining(message)]);
});

test('preferencePairLoss accepts every configuration that the schema accepts, and it reads back equal', () => {
  const key = fc.record(
    {
      loss_type: fc.subarray(lossTypes(), { minLength: 1, maxLength: 3 }),
      loss_weights: fc.array(fc.constantFrom(0, 0.5, 2), { minLength: 1, maxLength: 3 }),
      label_smoothing: fc.constantFrom(0, 0.1, 0.49995, 0.5),
      f_divergence_type: fc.constantFrom('reverse_kl', 'forward_kl', 'js_divergence', 'alpha_divergence'),
      f_alpha_divergence_coef: fc.constantFrom(0, 1, 0.5),
      reference_free: fc.boolean(),
      ld_alpha: fc.constantFrom(0, 0.5, 1),
      kl: fc.constantFrom(0, 1),
      use_weighting: fc.boolean(),
      per_device_train_batch_size: fc.constantFrom(1, 4),
    },
    { requiredKeys: [] },
  );
  const seen = { accepted: 0, rejected: 0 };
  fc.assert(
    fc.property(key, (keys) => {
      let config: ReturnType<typeof parse>;
      try {
        config = parse(
          Object.entries(keys)
            .map(([name, value]) => `${name}: ${JSON.stringify(value)}`)
            .join('\n'),
        );
      } catch (error) {
        expect((error as Error).name).toBe('UserError');
        seen.rejected++;
        return;
      }
      seen.accepted++;
      expect(() => preferencePairLoss(lossOptions(config))).not.toThrow();
      expect(parseConfig(trainSchema, configYaml(trainSchema, config), { file: '/runs/run.yaml' })).toEqual(config);
    }),
    { numRuns: 500, seed: 6 },
  );
  expect(Math.min(seen.accepted, seen.rejected)).toBeGreaterThan(20);
});

test('every key of the loss must be the same in a resumed run', () => {
  const keys = Object.keys(decidingValues(trainSchema, parse('')));
  expect(keys).toEqual(expect.arrayContaining(Object.keys(lossFields).map(yamlKey)));
});
