import { RESUME_ADVICE } from './check-pair';
import { NonFiniteError, StepStopped, TrainingError } from './errors';
import { stopPause, yieldToEventLoop } from './event-loop';
import { firstNotFinite } from './finite';
import { clipScale, firstOverflow, gradientNorm } from './gradient-norm';
import { checkGradients, moveGradients } from './gradient-offload';
import { type MicroBatch, runMicroBatch, runMicroBatches } from './micro-batch';
import type { PairResult } from './pair-loss';
import { type Parameter, type Policy, zeroGradients } from './policy';
import type { StepOptions } from './step-options';
import { updateInBackward } from './update-in-backward';

export interface StepResult {
  /** One per pair, in the order given. */
  readonly pairs: readonly PairResult[];
  /** The global gradient norm before clipping. */
  readonly gradNorm: number;
}

/**
 * One optimizer step on the gradient of the mean loss over all pairs of all micro-batches: forward and backward passes, clipping,
 * update. Gradients must be zero before. They are zero afterwards, whether the step succeeds or not.
 *
 * @throws NonFiniteError with the step and the pair where a loss or gradient is not finite. No weight has changed then.
 *   TrainingError naming the tensor, where a weight is not finite; and with `optimizerInBackward`, where a gradient is not finite after
 *   other weights have changed. StepStopped where the signal was aborted.
 */
export async function step(options: StepOptions): Promise<StepResult> {
  const { policy, optimizer, loss, microBatches, learningRate, maxGradNorm, allReduceGradients } = options;
  const { computeNorm = gradientNorm, offloadGradients } = options;
  const { parameters } = policy;
  const lossScale = 1 / microBatches.reduce((count, batch) => count + batch.pairs.length, 0);
  try {
    if (options.optimizerInBackward) {
      const update = updateInBackward(options);
      const passes = { policy, batches: microBatches, loss, step: options.step, lossScale, ...update };
      return { pairs: await runMicroBatches(passes), gradNorm: update.gradNorm() };
    }
    const pause = stopPause(options.signal);
    const update = async (gradNorm: number, parameters: readonly Parameter[]) => {
      if (!Number.isFinite(gradNorm)) throw await gradientError(options, gradNorm);
      await optimizer.step({ parameters, learningRate, gradientScale: clipScale(gradNorm, maxGradNorm) });
    };
    if (offloadGradients) {
      const gradientsReady = moveGradients(offloadGradients, allReduceGradients);
      const passes = { policy, batches: microBatches, loss, step: options.step, lossScale, gradientsReady };
      const pauseToUpdate = async () => {
        optimizer.continueUpdate?.(); // the last step's update runs beside this step's forward pass
        await pause();
      };
      const pairs = await runMicroBatches({ ...passes, pause: pauseToUpdate });
      const gradNorm = offloadGradients.norm(parameters);
      await update(gradNorm, offloadGradients.offloaded(parameters));
      return { pairs, gradNorm };
    }
    const pairs: PairResult[] = [];
    for (const batch of microBatches) {
      if (options.signal?.aborted) throw new StepStopped();
      pairs.push(...(await runMicroBatch({ policy, batch, loss, step: options.step, lossScale, pause })));
      await yieldToEventLoop();
    }
    await allReduceGradients?.(parameters);
    const gradNorm = await computeNorm(parameters);
    await update(gradNorm, parameters);
    return { pairs, gradNorm };
  } catch (error) {
    if (error instanceof NonFiniteError) await checkWeights(policy, error);
    throw error;
  } finally {
    zeroGradients(parameters);
    offloadGradients?.clear();
  }
}

/** @throws TrainingError where a weight is not finite: then every step would fail, whatever its pairs. */
async function checkWeights(policy: Policy, cause: NonFiniteError): Promise<void> {
  const tensor = await firstNotFinite(policy);
  if (tensor === null) return;
  throw new TrainingError(
    `${cause.message.split(': ', 1)[0]}: expected finite weights, found NaN or infinity in "${tensor}". An update made before has ` +
      'destroyed the model. Resume from the last checkpoint with a lower learning_rate.',
    { step: cause.step, pairId: cause.pairId, cause },
  );
}

/** Runs the step's pairs again one at a time, to name the pair whose gradient is not finite. */
async function gradientError(options: StepOptions, gradNorm: number): Promise<NonFiniteError> {
  const { policy, microBatches, step } = options;
  const at = step === undefined ? '' : `step ${step}: `;
  const hint = `No weight was changed. ${RESUME_ADVICE}`;
  for (const { pairs, references } of microBatches) {
    for (const [i, pair] of pairs.entries()) {
      zeroGradients(policy.parameters);
      const { norm, name } = await checkPair(options, { pairs: [pair], references: references && [references[i]!] });
      if (Number.isFinite(norm)) continue;
      return new NonFiniteError(
        `${at}pair "${pair.id}": expected a finite gradient, found norm ${norm}${name ? `, first in "${name}"` : ''}. ${hint}`,
        { step, pairId: pair.id },
      );
    }
  }
  const ids = microBatches.flatMap(({ pairs }) => pairs.map((pair) => `"${pair.id}"`)).join(', ');
  return new NonFiniteError(
    `${at}expected a finite gradient norm, found ${gradNorm}, though the gradient of each single pair is finite (pairs ${ids}). ` +
      hint,
    { step },
  );
}

/** The norm of the gradient of one pair, and where it is not finite, the first parameter that it is not finite of. */
async function checkPair({ policy, loss, step, offloadGradients }: StepOptions, batch: MicroBatch) {
  const pass = { policy, loss, step, lossScale: 1 };
  if (offloadGradients) {
    const { gradientsReady, result } = checkGradients(); // all gradients may not fit at once
    await runMicroBatches({ ...pass, batches: [batch], gradientsReady });
    return result();
  }
  await runMicroBatch({ ...pass, batch });
  const norm = await gradientNorm(policy.parameters);
  return { norm, name: Number.isFinite(norm) ? undefined : await firstOverflow(policy.parameters) };
}
