import { nearestName } from '@wpo/internal/nearest';
import type { LossType } from '@wpo/loss';
import type { PreferencePairLossOptions } from '@wpo/trainer';
import * as v from 'valibot';
import { above, atLeast, defaultsTo, flag, maybe, number, oneOf, text, within } from './config-values';

/** What a loss is of; here and not asked of @wpo/loss, so that `wpo --help` loads no library. */
type Kind =
  /** A difference of two answers' scores, which an f-divergence may bend. */
  | 'scores'
  /** Each answer's own reward. */
  | 'rewards'
  /** Rewards beside a reference point. */
  | 'point'
  /** A batch's pairs by rank. */
  | 'ranks'
  /** The policy alone. */
  | 'policy'
  /** The likelihood of the chosen answer, which goes with all others. */
  | 'likelihood';

const KINDS: Readonly<Record<LossType, Kind>> = {
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

/** All names of losses. */
export const lossNames: readonly string[] = Object.keys(KINDS);

/** The kinds of the losses of a config, whose names are known. */
const kindsOf = ({ loss_type }: LossConfig): Kind[] => loss_type.map((name) => KINDS[name as LossType]);

const oneOrMore = <S extends v.GenericSchema>(one: S, wanted: string) =>
  v.union([one, v.pipe(v.array(one, wanted), v.minLength(1, wanted))], wanted);

const divergences = ['reverse_kl', 'forward_kl', 'js_divergence', 'alpha_divergence'] as const;

/** The keys of a run file that say what is learned from a pair: TRL's names and defaults where TRL has the option. */
export const lossKeys = {
  beta: defaultsTo(above(0), 0.1, 'how hard the policy is held to its reference'),
  loss_type: defaultsTo(
    v.pipe(
      oneOrMore(text('a loss, or a list of losses'), 'a loss, or a list of losses'),
      v.transform((found) => [found].flat()),
    ),
    'sigmoid',
    'a pair’s loss, or a list of losses that are added up; docs/losses.md has their names and equations',
  ),
  loss_weights: maybe(
    v.array(number(), 'a list of numbers, one a loss'),
    'list of what each loss of loss_type is multiplied by; without it, 1 each',
  ),
  label_smoothing: defaultsTo(within(0, 0.5), 0, 'share of pairs taken to be labelled the wrong way round'),
  f_divergence_type: defaultsTo(
    oneOf(divergences),
    'reverse_kl',
    `what holds the policy to its reference: ${divergences.join(', ')}`,
  ),
  f_alpha_divergence_coef: defaultsTo(number(), 0.5, 'α of alpha_divergence'),
  reference_free: defaultsTo(flag, false, 'take the reference’s log-probs as 0, so that it is not run'),
  ld_alpha: maybe(
    within(0, 1),
    'LD-DPO’s α: what tokens past the shorter answer’s length count; without it, all count in full',
  ),
  discopop_tau: defaultsTo(above(0), 0.05, 'τ of discopop'),
  simpo_gamma: defaultsTo(atLeast(0), 0.5, 'γ of simpo: the margin that it asks for'),
  cpo_alpha: defaultsTo(atLeast(0), 1, 'α of cpo: how much its likelihood term counts'),
  desirable_weight: defaultsTo(atLeast(0), 1, 'λ_D of kto: what it counts a chosen answer'),
  undesirable_weight: defaultsTo(atLeast(0), 1, 'λ_U of kto: what it counts a rejected answer'),
  kl: maybe(atLeast(0), 'z₀ of kto: its reference point, here a constant; needed with kto'),
  bco_delta: defaultsTo(number(), 0, 'δ of bco_pair: its reward shift'),
  use_weighting: defaultsTo(
    flag,
    true,
    'weigh pairs as WPO does; false is TRL’s default. A row’s own weight counts either way',
  ),
  alignment: defaultsTo(
    oneOf(['sampled', 'greedy', 'none']),
    'sampled',
    'what token log-probs are measured against in a pair’s weight: sampled, greedy, none',
  ),
  clamp: defaultsTo(flag, true, 'hold weights to at most 1; false is TRL’s form'),
  temperature: defaultsTo(above(0), 1, 'what a weight’s exponent is divided by: more draws all weights towards 1'),
  attached: defaultsTo(flag, false, 'let gradient flow into the weights too'),
};

/** What a run file says of its loss, defaults filled in. */
export type LossConfig = Readonly<v.InferOutput<v.ObjectSchema<typeof lossKeys, undefined>>>;

/** Each key's name in code. */
const OPTIONS: Readonly<Record<keyof LossConfig, keyof PreferencePairLossOptions>> = {
  beta: 'beta',
  loss_type: 'lossType',
  loss_weights: 'lossWeights',
  label_smoothing: 'labelSmoothing',
  f_divergence_type: 'fDivergenceType',
  f_alpha_divergence_coef: 'fAlphaDivergenceCoef',
  reference_free: 'refFree',
  ld_alpha: 'ldAlpha',
  discopop_tau: 'discopopTau',
  simpo_gamma: 'simpoGamma',
  cpo_alpha: 'cpoAlpha',
  desirable_weight: 'desirableWeight',
  undesirable_weight: 'undesirableWeight',
  kl: 'kl',
  bco_delta: 'bcoDelta',
  use_weighting: 'useWeighting',
  alignment: 'alignment',
  clamp: 'clamp',
  temperature: 'temperature',
  attached: 'attached',
};

/** A run's loss, as `preferencePairLoss` takes it. */
export const lossOptions = (config: LossConfig): PreferencePairLossOptions =>
  Object.fromEntries(Object.entries(OPTIONS).map(([key, option]) => [option, config[key as keyof LossConfig]]));

/** A key, and what is wrong with it beside the others. */
export type Contradiction = [key: string, what: string];

/** Keys that say how pairs are run, as far as a loss may not go with them. */
interface RunKeys {
  readonly ref_model_name_or_path?: string | undefined;
  readonly per_device_train_batch_size: number;
  readonly max_tokens_per_pack?: number | undefined;
}

/** Where the keys of a loss are right by themselves and wrong together, or with how pairs are run. */
export function lossContradictions(config: LossConfig & RunKeys): Contradiction[] {
  const named = [...unknownLosses(config)];
  if (named.length > 0) return named;
  const unsuited = [...unsuitedOptions(config)];
  return unsuited.length > 0 ? unsuited : [...unmetNeeds(config)];
}

/** What is wrong with a loss's name, naming the nearest. */
export function* unknownLosses({ loss_type }: Pick<LossConfig, 'loss_type'>): Generator<Contradiction> {
  for (const name of loss_type) {
    if (lossNames.includes(name)) continue;
    yield [
      'loss_type',
      `there is no loss "${name}". The nearest is "${nearestName(name, lossNames)}"; all: ${lossNames.join(', ')}.`,
    ];
  }
}

/** Options that the losses do not have, or not with this value. */
function* unsuitedOptions(config: LossConfig): Generator<Contradiction> {
  const { loss_type, loss_weights, label_smoothing, f_divergence_type } = config;
  const losses = loss_type.join(', ');
  if (loss_weights && loss_weights.length !== loss_type.length) {
    yield [
      'loss_weights',
      `found ${loss_weights.length} with loss_type ${losses}, wanted one a loss: ${loss_type.length}.`,
    ];
    return;
  }
  if (label_smoothing === 0 && loss_type.includes('exo_pair')) {
    yield ['label_smoothing', 'found 0 with loss_type exo_pair, wanted a number above 0; its paper takes 1e-3.'];
  }
  if (label_smoothing > 0.4999 && loss_type.includes('robust')) {
    yield ['label_smoothing', `found ${label_smoothing} with loss_type robust, wanted at most 0.4999.`];
  }
  if (bentWrongly(config)) {
    yield [
      'f_divergence_type',
      `found ${f_divergence_type} with loss_type ${losses}, wanted reverse_kl, or losses of a difference of two answers’ ` +
        'scores: sigmoid, sigmoid_norm, hinge, ipo, robust, exo_pair, discopop, and sft beside them.',
    ];
  }
}

/** Whether an f-divergence is asked for that the losses cannot have: β log Z(x), which it brings in, cancels in scores alone. */
function bentWrongly(config: LossConfig): boolean {
  const { f_divergence_type, f_alpha_divergence_coef } = config;
  const plain =
    f_divergence_type === 'alpha_divergence' ? f_alpha_divergence_coef === 1 : f_divergence_type === 'reverse_kl';
  const kinds = kindsOf(config);
  return !plain && !(kinds.includes('scores') && kinds.every((kind) => kind === 'scores' || kind === 'likelihood'));
}

/** What the losses need and the run does not give, and what it gives and they have no use for. */
function* unmetNeeds(config: LossConfig & RunKeys): Generator<Contradiction> {
  const { kl, ld_alpha, use_weighting, ref_model_name_or_path } = config;
  const { max_tokens_per_pack, per_device_train_batch_size } = config;
  const losses = config.loss_type.join(', ');
  const kinds = kindsOf(config);
  const ranked = kinds.includes('ranks');
  const ofRatio = kinds.some((kind) => kind !== 'policy' && kind !== 'likelihood');
  const free = !ofRatio || (config.reference_free && !ranked);
  if (kinds.includes('point') && kl === undefined) {
    yield [
      'kl',
      'is missing with loss_type kto, wanted its reference point: a constant here, for it is of answers to other prompts, ' +
        'which training does not run. apo_zero is kto with kl 0.',
    ];
  }
  if (ranked && use_weighting) {
    yield [
      'use_weighting',
      `found true with loss_type ${losses}, wanted false: aot compares quantiles of a batch, which weights on its pairs ` +
        'would not move.',
    ];
  }
  if (ranked && per_device_train_batch_size === 1) {
    yield [
      'per_device_train_batch_size',
      `found 1 with loss_type ${losses}, wanted 2 or more: aot ranks the pairs that are run at once, and is sigmoid of one.`,
    ];
  }
  if (ranked && max_tokens_per_pack !== undefined) {
    yield [
      'max_tokens_per_pack',
      `found beside loss_type ${losses}, wanted none: aot ranks the pairs that are run at once, and packs would change which.`,
    ];
  }
  if (free && ref_model_name_or_path !== undefined) {
    const cause = ofRatio ? 'reference_free' : `loss_type ${losses}`;
    yield ['ref_model_name_or_path', `found beside ${cause}, wanted none: no reference is looked at.`];
  }
  if (ld_alpha !== undefined && !ofRatio) {
    yield ['ld_alpha', `found with loss_type ${losses}, wanted none: they take all tokens in full.`];
  }
}
