import { column } from './column';
import type { AnswerLengths, PolicyLogps, ReferenceLogps, Weighted } from './inputs';
import { checkName } from './nearest';
import { FINITE } from './range';
import type { LossOptions } from './settings';

/** Losses that look at the policy alone. */
export type ReferenceFreeLossType = 'sft' | 'simpo' | 'orpo' | 'cpo';

/** Losses that divide by answers' numbers of tokens. */
export type PerTokenLossType = 'ipo' | 'sigmoid_norm' | 'sft' | 'simpo' | 'orpo' | 'cpo';

/** Losses that sort a batch, and so take no weights. */
export type SortingLossType = 'aot' | 'aot_unpaired';

/** Losses by their names in TRL: its DPO trainer's, then those of its other trainers. `dpo` is `sigmoid`. */
export type LossType =
  | 'dpo'
  | 'sigmoid'
  | 'hinge'
  | 'ipo'
  | 'exo_pair'
  | 'nca_pair'
  | 'robust'
  | 'bco_pair'
  | 'sppo_hard'
  | SortingLossType
  | 'apo_zero'
  | 'apo_down'
  | 'discopop'
  | 'sigmoid_norm'
  | ReferenceFreeLossType
  | 'kto';

/** Which losses, and how much of each. */
export interface MixtureOptions<L extends LossType = LossType> extends LossOptions {
  /** One loss, or several that are added up. Default `sigmoid`. */
  lossType?: L | readonly L[];
  /** What each of several losses is multiplied by. Default 1 each. */
  lossWeights?: readonly number[];
}

/** The losses of a mixture, as `known` has them under their names, each with its weight. @throws where a name is unknown or there is not one weight a loss. */
export function mixture<Loss>(
  where: string,
  { lossType = 'sigmoid', lossWeights }: MixtureOptions,
  known: Readonly<Record<LossType, Loss>>,
): (readonly [loss: Loss, weight: number])[] {
  const types = ([] as LossType[]).concat(lossType);
  const weights = column(where, 'lossWeights', lossWeights ?? types.map(() => 1), FINITE, types.length || 1);
  return types.map((type, i) => {
    checkName(where, 'lossType', type, Object.keys(known));
    return [known[type], weights[i]!];
  });
}

/** What losses of the types `L` need of pairs; a literal type keeps a missing reference from compiling. */
export type PreferenceInput<T, K, L extends LossType, Free> = PolicyLogps<T> & { kl?: K } & ([
    Extract<L, SortingLossType>,
  ] extends [never]
    ? Weighted<T>
    : LossType extends L
      ? Weighted<T>
      : { weights?: undefined }) &
  (Free extends true
    ? Partial<ReferenceLogps<T>>
    : [Exclude<L, ReferenceFreeLossType>] extends [never]
      ? Partial<ReferenceLogps<T>>
      : ReferenceLogps<T>) &
  ([Extract<L, PerTokenLossType>] extends [never] ? Partial<AnswerLengths<T>> : AnswerLengths<T>);
