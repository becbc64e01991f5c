import { breathe } from './breathe';
import { clipScale, gradientNorm } from './clip';
import { TrainingError } from './errors';
import { type MicroBatch, type PairResult, runMicroBatch } from './micro-batch';
import type { Optimizer } from './optimizer';
import type { PairLoss } from './pair-loss';
import type { Parameter, Policy } from './policy';

export interface StepOptions {
  readonly policy: Policy;
  readonly optimizer: Optimizer;
  readonly loss: PairLoss;
  /**
   * The pairs of this step, cut as memory allows: the cut changes nothing but rounding, unless the loss ranks pairs
   * (`needsBatch`), which it does within a micro-batch.
   */
  readonly microBatches: readonly MicroBatch[];
  readonly learningRate: number;
  /** Clips the global gradient norm; 0 or Infinity does not. */
  readonly maxGradNorm: number;
  /** Which step of the run this is, counted from 1, for errors. */
  readonly step?: number;
  /** Called once the gradients are whole and before the norm is taken: data-parallel training sums them here. */
  readonly exchange?: (parameters: readonly Parameter[]) => Promise<void>;
  /** Takes the place of `gradientNorm`, for parameters whose gradients are not whole here or a backend that is faster. */
  readonly norm?: (parameters: readonly Parameter[]) => Promise<number>;
}

export interface StepResult {
  /** One a pair, in the order given. */
  readonly pairs: readonly PairResult[];
  /** Before clipping. */
  readonly gradNorm: number;
}

/**
 * One optimizer step: the gradient of the mean loss over all pairs of all micro-batches, clipped, applied, zeroed.
 * Gradients must be zero before, and are zero after, whether it succeeds or not.
 *
 * @throws TrainingError with the step and the pair where a loss or gradient is not finite; no weight has changed then.
 */
export async function step(options: StepOptions): Promise<StepResult> {
  const { policy, optimizer, loss, microBatches, learningRate, maxGradNorm, exchange, norm = gradientNorm } = options;
  const { parameters } = policy;
  const lossScale = 1 / microBatches.reduce((count, batch) => count + batch.pairs.length, 0);
  try {
    const pairs: PairResult[] = [];
    for (const batch of microBatches) {
      pairs.push(...(await runMicroBatch({ policy, batch, loss, step: options.step, lossScale })));
      await breathe();
    }
    await exchange?.(parameters);
    const gradNorm = await norm(parameters);
    if (!Number.isFinite(gradNorm)) throw await gradientError(options, gradNorm);
    await optimizer.step({ parameters, learningRate, gradientScale: clipScale(gradNorm, maxGradNorm) });
    return { pairs, gradNorm };
  } finally {
    zeroGradients(parameters);
  }
}

function zeroGradients(parameters: readonly Parameter[]): void {
  for (const parameter of parameters) parameter.zeroGradient();
}

/** Runs the step's pairs again, one at a time, to name the one whose gradient is not finite. */
async function gradientError(options: StepOptions, gradNorm: number): Promise<TrainingError> {
  const { policy, loss, microBatches, step } = options;
  const where = step === undefined ? '' : `step ${step}: `;
  const mend =
    'No weight was changed. Resume from the last checkpoint with a lower learning_rate or a longer warm-up; if it comes ' +
    'back at the same pair, look at the row and leave it out.';
  for (const { pairs, references } of microBatches) {
    for (const [i, pair] of pairs.entries()) {
      zeroGradients(policy.parameters);
      await runMicroBatch({
        policy,
        batch: { pairs: [pair], references: references && [references[i]!] },
        loss,
        step,
        lossScale: 1,
      });
      const alone = await gradientNorm(policy.parameters);
      if (Number.isFinite(alone)) continue;
      const bad = await firstBad(policy.parameters);
      return new TrainingError(
        `${where}the gradient of pair "${pair.id}" is not finite (norm ${alone}${bad ? `, first in "${bad}"` : ''}). ${mend}`,
        { step, pairId: pair.id },
      );
    }
  }
  const ids = microBatches.flatMap(({ pairs }) => pairs.map((pair) => `"${pair.id}"`)).join(', ');
  return new TrainingError(
    `${where}the gradient norm is ${gradNorm}, though each pair's by itself is finite (pairs ${ids}). ${mend}`,
    { step },
  );
}

async function firstBad(parameters: readonly Parameter[]): Promise<string | undefined> {
  for (const parameter of parameters) {
    if (!Number.isFinite(await gradientNorm([parameter]))) return parameter.name;
  }
  return undefined;
}
