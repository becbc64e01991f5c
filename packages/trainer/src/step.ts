import { RESUME_ADVICE } from './check-pair';
import {
  allReduceGradients,
  gradientsOf,
  inRounds,
  readResults,
  requireEqual,
  resultNumbers,
  type Share,
  shareOf,
} from './data-parallel';
import { NonFiniteError, StepStopped, TrainingError } from './errors';
import { stopPause, yieldToEventLoop } from './event-loop';
import { firstNotFinite } from './finite';
import { clipScale, firstOverflow, gradientNorm } from './gradient-norm';
import { checkGradients, moveGradients } from './gradient-offload';
import { type Group, orFail, soloGroup } from './group';
import { type MicroBatch, runMicroBatch, runMicroBatches } from './micro-batch';
import type { PairResult } from './pair-loss';
import { type Parameter, type Policy, pairLength, zeroGradients } from './policy';
import { dividesState, shardedUpdate } from './sharding';
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
  const { policy, optimizer, loss, microBatches, learningRate, maxGradNorm, group = soloGroup } = options;
  const { computeNorm = gradientNorm, offloadGradients } = options;
  const { parameters } = policy;
  const ids = microBatches.flatMap(({ pairs }) => pairs.map(({ id }) => id));
  const share = shareOf(microBatches, group);
  const passes = { policy, loss, step: options.step, lossScale: share.isSpare ? 0 : 1 / ids.length };
  const what = gradientsOf(options);
  const resultsOf = (own: readonly PairResult[]) => resultNumbers(ids.length, indexed(share, own));
  try {
    if (options.optimizerInBackward) {
      const update = updateInBackward(options);
      const own = await orFail(group, () => runMicroBatches({ ...passes, batches: share.batches, ...update }));
      return { pairs: await gatherResults(group, ids, resultsOf(own)), gradNorm: update.gradNorm() };
    }
    const pause = stopPause(options.signal);
    const update = async (gradNorm: number, parameters: readonly Parameter[]) => {
      if (!Number.isFinite(gradNorm)) throw await gradientError(options, gradNorm);
      await requireEqual(group, { grad_norm: gradNorm }, { what: `norm of ${what}`, hint: SAME_SUMS });
      await optimizer.step({ parameters, learningRate, gradientScale: clipScale(gradNorm, maxGradNorm) });
    };
    if (offloadGradients) {
      const reduce = (ready: readonly Parameter[]) => allReduceGradients(group, ready, { what });
      const layerPasses = {
        ...passes,
        batches: share.batches,
        gradientsReady: moveGradients(offloadGradients, reduce),
      };
      const pauseToUpdate = async () => {
        optimizer.continueUpdate?.(); // the last step's update runs beside this step's forward pass
        await pause();
      };
      const own = await orFail(group, () => runMicroBatches({ ...layerPasses, pause: pauseToUpdate }));
      const pairs = await gatherResults(group, ids, resultsOf(own));
      const gradNorm = offloadGradients.norm(parameters);
      await update(gradNorm, offloadGradients.offloaded(parameters));
      return { pairs, gradNorm };
    }
    const own: PairResult[] = [];
    await orFail(group, async () => {
      for (const batch of share.batches) {
        if (options.signal?.aborted) throw new StepStopped();
        own.push(...(await runMicroBatch({ ...passes, batch, pause })));
        await yieldToEventLoop();
      }
    });
    const results = resultsOf(own);
    if (dividesState(options)) {
      const pairs = await gatherResults(group, ids, results);
      return { pairs, gradNorm: await shardedUpdate({ group, parameters, what, computeNorm, update }) };
    }
    await allReduceGradients(group, parameters, { what, more: [results] });
    const gradNorm = await computeNorm(parameters);
    await update(gradNorm, parameters);
    return { pairs: readResults(ids, results), gradNorm };
  } catch (error) {
    if (error instanceof NonFiniteError) await checkWeights(policy, error);
    throw error;
  } finally {
    zeroGradients(parameters);
    offloadGradients?.clear();
  }
}

const SAME_SUMS =
  'The ranks would no longer have the same weights. Use machines with the same kind of CPU, and the same version of wpo and MPI.';

/** The results of a rank, each with its pair's index in the step. */
const indexed = ({ batches, starts, isSpare }: Share, own: readonly PairResult[]) => {
  const indices = batches.flatMap(({ pairs }, b) => pairs.map((_, i) => starts[b]! + i));
  return isSpare ? [] : own.map((result, i) => [indices[i]!, result] as const);
};

async function gatherResults(group: Group, ids: readonly string[], numbers: Float64Array): Promise<PairResult[]> {
  await group.allReduce([numbers], 'results of pairs');
  return readResults(ids, numbers);
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
  const { policy, microBatches, step, group = soloGroup } = options;
  const at = step === undefined ? '' : `step ${step}: `;
  const hint = `No weight was changed. ${RESUME_ADVICE}`;
  const singles = microBatches.flatMap(({ pairs, references }) =>
    pairs.map((pair, i): MicroBatch => ({ pairs: [pair], references: references && [references[i]!] })),
  );
  const check = (batch: MicroBatch) => {
    zeroGradients(policy.parameters);
    return checkPair(options, batch);
  };
  let bad: MicroBatch | undefined;
  await inRounds({
    ...{ group, items: singles, what: 'gradients of single pairs', width: () => 1 },
    cost: ({ pairs }) => pairLength(pairs[0]!),
    work: async (batch) => [(await check(batch)).norm],
    onResults(batches, norms) {
      bad = batches.find((_, i) => !Number.isFinite(norms[i]![0]));
      return bad === undefined;
    },
  });
  if (bad) {
    const { id } = bad.pairs[0]!;
    const { norm, name } = await check(bad);
    return new NonFiniteError(
      `${at}pair "${id}": expected a finite gradient, found norm ${norm}${name ? `, first in "${name}"` : ''}. ${hint}`,
      { step, pairId: id },
    );
  }
  const ids = microBatches.flatMap(({ pairs }) => pairs.map(({ id }) => `"${id}"`)).join(', ');
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
