import { describeRange, isInRange } from '@wpo/internal/ranges';
import {
  LOSS_DESCRIPTIONS,
  LOSS_OPTIONS,
  LOSSES,
  type LossSpec,
  type LossType,
  lossTypes,
  OPTION_DESCRIPTIONS,
} from '@wpo/loss/scalar';
import type { PreferencePairLossOptions } from '@wpo/trainer';
import * as v from 'valibot';
import { boolean, choice, field, number } from './fields';
import type { FieldOptions, Naming, Parsed, Problem } from './schema';
import { alignment, beta } from './shared';

export const LOSS_NAMES = lossTypes();
/** `wpo` is what this program computes by default: DPO's loss times the pair's weight. */
const lossName = v.pipe(
  v.picklist([...LOSS_NAMES, 'wpo']),
  v.transform((name): LossType => (name === 'wpo' ? 'sigmoid' : name)),
);
const lossEnum = [...LOSS_NAMES, 'wpo'];

/** The requirements of a loss, and the ranges of its options. */
export const lossSpec = (loss: LossType): LossSpec => LOSSES[loss];

/** One loss. */
export const lossType = <const O extends FieldOptions<LossType>>(options: O) =>
  field(
    {
      expected: `a loss: ${LOSS_NAMES.join(', ')}`,
      json: { enum: lossEnum },
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
      expected: `a loss or a list of losses: ${lossEnum.join(', ')}`,
      json: { anyOf: [{ enum: lossEnum }, { type: 'array', items: { enum: lossEnum }, minItems: 1 }] },
      schema: v.pipe(
        v.union([lossName, v.pipe(v.array(lossName), v.minLength(1))]),
        v.transform((found) => [found].flat()),
      ) as v.GenericSchema<unknown, readonly LossType[]>,
      choices: { ...LOSS_DESCRIPTIONS, wpo: 'DPO times the pair’s weight, as sigmoid with use_weighting: true' },
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
  labelSmoothing: number({ ...LOSS_OPTIONS.labelSmoothing, help: OPTION_DESCRIPTIONS.labelSmoothing }),
  fDivergenceType: choice(
    { reverse_kl: '', forward_kl: '', js_divergence: '', alpha_divergence: '' },
    { default: 'reverse_kl', help: OPTION_DESCRIPTIONS.fDivergenceType },
  ),
  fAlphaDivergenceCoef: number({
    ...LOSS_OPTIONS.fAlphaDivergenceCoef,
    help: OPTION_DESCRIPTIONS.fAlphaDivergenceCoef,
  }),
  referenceFree: boolean({ default: false, help: OPTION_DESCRIPTIONS.refFree }),
  ldAlpha: number({
    min: 0,
    max: 1,
    help: 'α of LD-DPO: weight of the tokens beyond the length of the shorter answer (default: 1)',
  }),
  discopopTau: number({ ...LOSS_OPTIONS.discopopTau, help: OPTION_DESCRIPTIONS.discopopTau }),
  simpoGamma: number({ ...LOSS_OPTIONS.simpoGamma, help: OPTION_DESCRIPTIONS.simpoGamma }),
  cpoAlpha: number({ ...LOSS_OPTIONS.cpoAlpha, help: OPTION_DESCRIPTIONS.cpoAlpha }),
  desirableWeight: number({ ...LOSS_OPTIONS.desirableWeight, help: OPTION_DESCRIPTIONS.desirableWeight }),
  undesirableWeight: number({ ...LOSS_OPTIONS.undesirableWeight, help: OPTION_DESCRIPTIONS.undesirableWeight }),
  kl: number({ min: 0, help: 'z₀ of kto: its reference point, a constant here; required with kto' }),
  bcoDelta: number({ ...LOSS_OPTIONS.bcoDelta, help: OPTION_DESCRIPTIONS.bcoDelta }),
  useWeighting: boolean({
    default: true,
    help: 'multiply each pair’s loss by its WPO weight; false is TRL’s default; a row’s own weight counts in both cases',
  }),
  alignment,
  clamp: boolean({ default: true, help: 'limit weights to at most 1; false allows larger weights, as TRL does' }),
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

/** Keys outside the loss that a loss may restrict. */
interface RunConfig {
  readonly refModelNameOrPath?: string | undefined;
  readonly perDeviceTrainBatchSize: number;
  readonly maxTokensPerPack?: number | undefined;
}

/** Finds loss options that contradict each other or other keys of the run. */
export function checkLoss(
  config: LossConfig & RunConfig,
  name: Naming,
  written: { readonly lossType?: unknown } = {},
): Problem[] {
  if ([written.lossType].flat().includes('wpo') && !config.useWeighting) {
    const hint = 'wpo is sigmoid times the pair’s weight; without weights, write sigmoid.';
    return [{ field: 'useWeighting', expected: `true with ${name('lossType')} wpo`, found: 'false', hint }];
  }
  const unsuited = unsuitedOptions(config, name);
  return unsuited.length > 0 ? unsuited : unmetNeeds(config, name);
}

/** Finds losses that do not accept this label smoothing. */
export function checkSmoothing(losses: readonly LossType[], labelSmoothing: number, name: Naming): Problem[] {
  return losses.flatMap((loss): Problem[] => {
    const range = lossSpec(loss).labelSmoothing;
    if (range === undefined || isInRange(labelSmoothing, range)) return [];
    const hint = range.above === undefined ? undefined : 'Its paper uses 1e-3.';
    const expected = `a number${describeRange(range)} with ${name('lossType')} ${loss}`;
    return [{ field: 'labelSmoothing', expected, found: String(labelSmoothing), ...(hint && { hint }) }];
  });
}

/** Finds options with values that the losses do not accept. */
function unsuitedOptions(config: LossConfig, name: Naming): Problem[] {
  const { lossType, lossWeights, labelSmoothing, fDivergenceType } = config;
  const beside = `with ${name('lossType')} ${lossType.join(', ')}`;
  if (lossWeights && lossWeights.length !== lossType.length) {
    const expected = `one number per loss, ${lossType.length}, ${beside}`;
    return [{ field: 'lossWeights', expected, found: String(lossWeights.length) }];
  }
  const problems = checkSmoothing(lossType, labelSmoothing, name);
  if (hasUnsuitedDivergence(config)) {
    const suited = LOSS_NAMES.filter((loss) => lossSpec(loss).divergence);
    const hint = `Other divergences need losses of a score difference: ${suited.join(', ')}, and sft together with one of them.`;
    problems.push({ field: 'fDivergenceType', expected: `reverse_kl ${beside}`, found: fDivergenceType, hint });
  }
  return problems;
}

/** An f-divergence adds β log Z(x) to each reward. The term cancels only in the difference of two answers' scores. */
function hasUnsuitedDivergence({ fDivergenceType, fAlphaDivergenceCoef, lossType }: LossConfig): boolean {
  const isReverseKl =
    fDivergenceType === 'alpha_divergence' ? fAlphaDivergenceCoef === 1 : fDivergenceType === 'reverse_kl';
  const isSuited = (loss: LossType) => lossSpec(loss).divergence === true;
  return !isReverseKl && !(lossType.some(isSuited) && lossType.every((loss) => isSuited(loss) || loss === 'sft'));
}

/** Finds keys that the losses require, and keys that they cannot use. */
function unmetNeeds(config: LossConfig & RunConfig, name: Naming): Problem[] {
  const { kl, ldAlpha, useWeighting, refModelNameOrPath, maxTokensPerPack, perDeviceTrainBatchSize } = config;
  const losses = config.lossType.join(', ');
  const beside = `with ${name('lossType')} ${losses}`;
  const specs = config.lossType.map(lossSpec);
  const isRanked = specs.some(({ ranks }) => ranks !== undefined);
  const usesRatio = specs.some(({ reference }) => reference);
  const needsNoReference = !usesRatio || (config.referenceFree && !isRanked);
  const problems: Problem[] = [];
  const refuse = (field: string, expected: string, found: string, hint: string) =>
    void problems.push({ field, expected, found, hint });
  if (specs.some((spec) => spec.kl) && kl === undefined) {
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
