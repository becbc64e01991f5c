import type { LossType } from '@wpo/loss';
import type { PreferencePairLossOptions } from '@wpo/trainer';
import * as v from 'valibot';
import { boolean, choice, type FieldOptions, field, type Naming, number, type Parsed, type Problem } from './schema';
import { alignment, beta } from './shared';

/** What a loss compares; listed here rather than read from @wpo/loss, so that `wpo --help` loads no library. */
type LossKind =
  /** The difference of two answers' scores, which an f-divergence may change. */
  | 'scores'
  /** Each answer's own reward. */
  | 'rewards'
  /** Rewards and a reference point. */
  | 'point'
  /** A batch's pairs by rank. */
  | 'ranks'
  /** The policy alone. */
  | 'policy'
  /** The likelihood of the chosen answer, which combines with all others. */
  | 'likelihood';

export const LOSSES: Readonly<Record<LossType, LossKind>> = {
  dpo: 'scores',
  sigmoid: 'scores',
  hinge: 'scores',
  ipo: 'scores',
  exo_pair: 'scores',
  nca_pair: 'rewards',
  robust: 'scores',
  bco_pair: 'rewards',
  sppo_hard: 'rewards',
  aot: 'ranks',
  aot_unpaired: 'ranks',
  apo_zero: 'rewards',
  apo_down: 'rewards',
  discopop: 'scores',
  sft: 'likelihood',
  sigmoid_norm: 'scores',
  simpo: 'policy',
  orpo: 'policy',
  cpo: 'policy',
  kto: 'point',
};

export const LOSS_NAMES = Object.keys(LOSSES) as LossType[];
const lossName = v.picklist(LOSS_NAMES);
const choices = Object.fromEntries(LOSS_NAMES.map((name) => [name, '']));

/** One loss. */
export const lossType = <const O extends FieldOptions<LossType>>(options: O) =>
  field(
    {
      expected: `a loss: ${LOSS_NAMES.join(', ')}`,
      json: { enum: LOSS_NAMES },
      schema: lossName as v.GenericSchema<unknown, LossType>,
      placeholder: 'name',
      fromText: (text) => text,
    },
    options,
  );

/** The keys of a training run's loss. Names and defaults are TRL's, where TRL has the option. */
export const lossFields = {
  beta,
  lossType: field(
    {
      expected: `a loss or a list of losses: ${LOSS_NAMES.join(', ')}`,
      json: { anyOf: [{ enum: LOSS_NAMES }, { type: 'array', items: { enum: LOSS_NAMES }, minItems: 1 }] },
      schema: v.pipe(
        v.union([lossName, v.pipe(v.array(lossName), v.minLength(1))]),
        v.transform((found) => [found].flat()),
      ) as v.GenericSchema<unknown, readonly LossType[]>,
      choices,
      fromText: (text) => text,
    },
    {
      default: ['sigmoid'],
      help: 'the loss of a pair, or a list of losses to add; docs/losses.md has their equations',
    },
  ),
  lossWeights: field(
    {
      expected: 'a list of numbers, one per loss',
      json: { type: 'array', items: { type: 'number' } },
      schema: v.array(v.pipe(v.number(), v.finite())) as v.GenericSchema<unknown, readonly number[]>,
      fromText: (text) => text,
    },
    { help: 'factor of each loss in loss_type (default: 1 each)' },
  ),
  labelSmoothing: number({ min: 0, max: 0.5, default: 0, help: 'assumed share of pairs whose labels are swapped' }),
  fDivergenceType: choice(
    { reverse_kl: '', forward_kl: '', js_divergence: '', alpha_divergence: '' },
    { default: 'reverse_kl', help: 'divergence that keeps the policy close to its reference' },
  ),
  fAlphaDivergenceCoef: number({ default: 0.5, help: 'α of alpha_divergence' }),
  referenceFree: boolean({ default: false, help: 'take 0 for the reference’s log-probs; the reference is not run' }),
  ldAlpha: number({
    min: 0,
    max: 1,
    help: 'α of LD-DPO: weight of the tokens beyond the length of the shorter answer (default: 1)',
  }),
  discopopTau: number({ above: 0, default: 0.05, help: 'τ of discopop' }),
  simpoGamma: number({ min: 0, default: 0.5, help: 'γ of simpo: its target margin' }),
  cpoAlpha: number({ min: 0, default: 1, help: 'α of cpo: weight of its likelihood term' }),
  desirableWeight: number({ min: 0, default: 1, help: 'λ_D of kto: weight of chosen answers' }),
  undesirableWeight: number({ min: 0, default: 1, help: 'λ_U of kto: weight of rejected answers' }),
  kl: number({ min: 0, help: 'z₀ of kto: its reference point, a constant here; required with kto' }),
  bcoDelta: number({ default: 0, help: 'δ of bco_pair: its reward shift' }),
  useWeighting: boolean({
    default: true,
    help: 'multiply each pair’s loss by its WPO weight; false is TRL’s default; a row’s own weight counts in both cases',
  }),
  alignment,
  clamp: boolean({ default: true, help: 'limit weights to at most 1; false is what TRL does' }),
  temperature: number({
    above: 0,
    default: 1,
    help: 'divides the exponent of a weight; a larger value brings all weights nearer to 1',
  }),
  attached: boolean({ default: false, help: 'let gradients flow through the weights' }),
};

/** How a training run's loss is configured. */
export type LossConfig = Parsed<typeof lossFields>;

/** A run's loss, as `preferencePairLoss` takes it. */
export function lossOptions(config: LossConfig): PreferencePairLossOptions {
  const { referenceFree, ...own } = Object.fromEntries(
    Object.keys(lossFields).map((name) => [name, config[name as keyof LossConfig]]),
  ) as LossConfig;
  return { ...own, refFree: referenceFree };
}

/** Keys that say how pairs are run, as far as a loss may forbid them. */
interface RunConfig {
  readonly refModelNameOrPath?: string | undefined;
  readonly perDeviceTrainBatchSize: number;
  readonly maxTokensPerPack?: number | undefined;
}

/** Finds loss options that contradict each other, or how the pairs are run. */
export function checkLoss(config: LossConfig & RunConfig, name: Naming): Problem[] {
  const unsuited = unsuitedOptions(config, name);
  return unsuited.length > 0 ? unsuited : unmetNeeds(config, name);
}

/** Options that the losses do not have, or not with this value. */
function unsuitedOptions(config: LossConfig, name: Naming): Problem[] {
  const { lossType, lossWeights, labelSmoothing, fDivergenceType } = config;
  const beside = (loss: string) => `with ${name('lossType')} ${loss}`;
  const losses = lossType.join(', ');
  if (lossWeights && lossWeights.length !== lossType.length) {
    const expected = `one number per loss, ${lossType.length}, ${beside(losses)}`;
    return [{ field: 'lossWeights', expected, found: String(lossWeights.length) }];
  }
  const problems: Problem[] = [];
  if (labelSmoothing === 0 && lossType.includes('exo_pair')) {
    const hint = 'Its paper uses 1e-3.';
    problems.push({ field: 'labelSmoothing', expected: `a number above 0 ${beside('exo_pair')}`, found: '0', hint });
  }
  if (labelSmoothing > 0.4999 && lossType.includes('robust')) {
    const expected = `at most 0.4999 ${beside('robust')}`;
    problems.push({ field: 'labelSmoothing', expected, found: String(labelSmoothing) });
  }
  if (hasUnsuitedDivergence(config)) {
    const hint =
      'Other divergences need losses of a score difference: sigmoid, sigmoid_norm, hinge, ipo, robust, exo_pair, ' +
      'discopop, and sft together with one of them.';
    problems.push({ field: 'fDivergenceType', expected: `reverse_kl ${beside(losses)}`, found: fDivergenceType, hint });
  }
  return problems;
}

/** An f-divergence brings β log Z(x) into a reward, which cancels only in the difference of two answers' scores. */
function hasUnsuitedDivergence({ fDivergenceType, fAlphaDivergenceCoef, lossType }: LossConfig): boolean {
  const isReverseKl =
    fDivergenceType === 'alpha_divergence' ? fAlphaDivergenceCoef === 1 : fDivergenceType === 'reverse_kl';
  const kinds = lossType.map((loss) => LOSSES[loss]);
  return (
    !isReverseKl && !(kinds.includes('scores') && kinds.every((kind) => kind === 'scores' || kind === 'likelihood'))
  );
}

/** What the losses need and the run does not give, and what it gives and they cannot use. */
function unmetNeeds(config: LossConfig & RunConfig, name: Naming): Problem[] {
  const { kl, ldAlpha, useWeighting, refModelNameOrPath, maxTokensPerPack, perDeviceTrainBatchSize } = config;
  const losses = config.lossType.join(', ');
  const beside = `with ${name('lossType')} ${losses}`;
  const kinds = config.lossType.map((loss) => LOSSES[loss]);
  const isRanked = kinds.includes('ranks');
  const usesRatio = kinds.some((kind) => kind !== 'policy' && kind !== 'likelihood');
  const needsNoReference = !usesRatio || (config.referenceFree && !isRanked);
  const problems: Problem[] = [];
  const refuse = (field: string, expected: string, found: string, hint: string) =>
    void problems.push({ field, expected, found, hint });
  if (kinds.includes('point') && kl === undefined) {
    const hint =
      'It is the loss’s reference point. It is a constant here: estimating it takes answers to other prompts, which ' +
      'training does not run. apo_zero is kto with kl 0.';
    refuse('kl', `a number of 0 or more with ${name('lossType')} kto`, 'nothing', hint);
  }
  if (isRanked && useWeighting) {
    const hint = 'aot compares quantiles of a batch, which weights of single pairs would not change.';
    refuse('useWeighting', `false ${beside}`, 'true', hint);
  }
  if (isRanked && perDeviceTrainBatchSize === 1) {
    const hint = 'aot ranks the pairs of a batch; with one pair it is sigmoid.';
    refuse('perDeviceTrainBatchSize', `2 or more ${beside}`, '1', hint);
  }
  if (isRanked && maxTokensPerPack !== undefined) {
    const hint = 'aot ranks the pairs of a batch, and packs would change which pairs these are.';
    refuse('maxTokensPerPack', `no value ${beside}`, String(maxTokensPerPack), hint);
  }
  if (needsNoReference && refModelNameOrPath !== undefined) {
    const cause = usesRatio ? `with ${name('referenceFree')} true` : beside;
    refuse('refModelNameOrPath', `no value ${cause}`, refModelNameOrPath, 'No reference is run. Remove the key.');
  }
  if (ldAlpha !== undefined && !usesRatio) {
    refuse('ldAlpha', `no value ${beside}`, String(ldAlpha), 'These losses count all tokens in full. Remove the key.');
  }
  return problems;
}
