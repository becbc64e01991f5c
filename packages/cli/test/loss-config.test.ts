import { lossTypes } from '@wpo/loss';
import { preferencePairLoss } from '@wpo/trainer';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { lossKeys, lossNames, lossOptions } from '../src/loss-config';
import { decidingKeys, parseRunConfig, runConfigYaml } from '../src/run-config';

const least = 'model_name_or_path: m\ntrain_file: t.jsonl\noutput_dir: out\n';
const parse = (yaml: string, set: string[] = []) => parseRunConfig(least + yaml, { file: '/runs/run.yaml', set });
const problems = (yaml: string) => {
  try {
    parse(yaml);
  } catch (error) {
    return (error as Error).message.split('\n');
  }
  throw new Error('no problem found');
};

test('without a word on the loss it is WPO’s, as preferencePairLoss has it by default', () => {
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

test('one loss or a list, each by TRL’s name, and every option of theirs', () => {
  expect(parse('loss_type: simpo').loss_type).toEqual(['simpo']);
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
  expect(parse('', ['loss_type=[hinge, sft]']).loss_type).toEqual(['hinge', 'sft']);
});

test.each([
  [
    'loss_type: sigmod',
    'loss_type: there is no loss "sigmod". The nearest is "sigmoid"; all: dpo, sigmoid, hinge, ipo, ',
  ],
  ['loss_type: [ipo, sffp]', 'loss_type: there is no loss "sffp". The nearest is "sft"'],
  ['loss_type: 3', 'loss_type: found 3, wanted a loss, or a list of losses.'],
  ['loss_type: []', 'loss_type: found a list, wanted a loss, or a list of losses.'],
  ['loss_weights: [1, 1]', 'loss_weights: found 2 with loss_type sigmoid, wanted one a loss: 1.'],
  ['loss_weights: [a]', 'loss_weights: found the text "a", wanted a number.'],
  ['loss_weights: 1', 'loss_weights: found 1, wanted a list of numbers, one a loss.'],
  ['f_divergence_type: kl', 'f_divergence_type: found the text "kl", wanted reverse_kl, forward_kl,'],
  ['ld_alpha: 2', 'ld_alpha: found 2, wanted a number from 0 to 1.'],
  ['temperature: 0', 'temperature: found 0, wanted a number above 0.'],
])('%j is refused by its line', (yaml, message) => {
  expect(problems(yaml)[0]).toContain(`/runs/run.yaml:4: ${message}`);
});

test.each([
  ['loss_type: exo_pair', 'run.yaml: label_smoothing: found 0 with loss_type exo_pair, wanted a number above 0;'],
  ['loss_type: robust\nlabel_smoothing: 0.5', 'run.yaml:5: label_smoothing: found 0.5 with loss_type robust'],
  [
    'loss_type: [sigmoid, nca_pair]\nf_divergence_type: forward_kl',
    'run.yaml:5: f_divergence_type: found forward_kl with loss_type sigmoid, nca_pair, wanted reverse_kl, or losses of a',
  ],
  ['loss_type: sft\nf_divergence_type: js_divergence', 'run.yaml:5: f_divergence_type: found js_divergence'],
  ['loss_type: kto', 'run.yaml: kl: is missing with loss_type kto, wanted its reference point'],
  [
    'loss_type: aot\nper_device_train_batch_size: 4',
    'run.yaml: use_weighting: found true with loss_type aot, wanted false: aot compares quantiles',
  ],
  [
    'loss_type: aot\nuse_weighting: false',
    'run.yaml: per_device_train_batch_size: found 1 with loss_type aot, wanted 2 or more',
  ],
  [
    'loss_type: [aot_unpaired]\nuse_weighting: false\nper_device_train_batch_size: 4\nmax_tokens_per_pack: 99',
    'run.yaml:7: max_tokens_per_pack: found beside loss_type aot_unpaired, wanted none',
  ],
  [
    'loss_type: simpo\nref_model_name_or_path: other',
    'run.yaml:5: ref_model_name_or_path: found beside loss_type simpo, wanted none: no reference is looked at.',
  ],
  [
    'reference_free: true\nref_model_name_or_path: other',
    'run.yaml:5: ref_model_name_or_path: found beside reference_free, wanted none',
  ],
  ['loss_type: [simpo, sft]\nld_alpha: 0.5', 'run.yaml:5: ld_alpha: found with loss_type simpo, sft, wanted none'],
])('keys that do not go together, %j, are refused in their own words', (yaml, message) => {
  expect(problems(yaml)).toEqual([expect.stringContaining(message)]);
});

test('what a config does not refuse, preferencePairLoss does not, and it reads back equal', () => {
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
  const seen = { taken: 0, refused: 0 };
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
        seen.refused++;
        return;
      }
      seen.taken++;
      expect(() => preferencePairLoss(lossOptions(config))).not.toThrow();
      expect(parseRunConfig(runConfigYaml(config), { file: '/runs/run.yaml' })).toEqual(config);
    }),
    { numRuns: 500, seed: 6 },
  );
  expect(Math.min(seen.taken, seen.refused)).toBeGreaterThan(20);
});

test('the losses are those of @wpo/loss', () => {
  expect(lossNames).toEqual(lossTypes());
});

test('every key of the loss decides a run’s numbers', () => {
  expect(decidingKeys).toEqual(expect.arrayContaining(Object.keys(lossKeys)));
});
