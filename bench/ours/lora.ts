import { type ActivationCheckpointing, adapted, gemmaPolicy } from '@wpo/gemma';
import { tensorflowGradientNorm, tensorflowOptimizer } from '@wpo/tensorflow/kernels';
import { adamW, precomputeReference, type ReferenceLogps, step, wpoPairLoss } from '@wpo/trainer';
import type { Dtype } from '../flags';
import { lengthsOf, readPairs } from '../inputs';
import { kernels, openFrozen, secondsSince, waitForDevice } from './policy';
import type { StepAnswer } from './training';

export interface LoraAnswer extends StepAnswer, Partial<ReferenceLogps> {
  /** Absent for the peer, as the log-probs of the reference are. */
  readonly gradNorm?: number;
}

/** Optimizer steps of an adapter on all linear layers, on one pair each, with precomputed reference log-probs. */
export async function openLora(options: {
  readonly model: string;
  readonly pairs: string;
  readonly dtype: Dtype;
  readonly checkpointing: ActivationCheckpointing;
  readonly rank: number;
}) {
  const { model, dtype, checkpointing, rank } = options;
  const pairs = await readPairs(model, options.pairs);
  const base = await openFrozen(model, dtype);
  const references = await precomputeReference({ policy: gemmaPolicy(base, { kernels }), pairs });
  const adapter = { r: rank, loraAlpha: rank, targetModules: 'all-linear' };
  const policy = gemmaPolicy(adapted(base, adapter, { kernels }), { kernels, activationCheckpointing: checkpointing });
  const optimizer = adamW({ kernel: tensorflowOptimizer() });
  const computeNorm = tensorflowGradientNorm();
  const loss = wpoPairLoss({ beta: 0.01, clamp: false }); // as in TRL
  const steps = { policy, optimizer, loss, computeNorm, learningRate: 1e-6, maxGradNorm: 1 };

  return async ({ pair }: { pair: number }): Promise<() => Promise<LoraAnswer>> => {
    const start = performance.now();
    const microBatches = [{ pairs: [pairs[pair]!], references: [references[pair]!] }];
    const { gradNorm, ...result } = await step({ ...steps, microBatches });
    await waitForDevice(policy);
    const seconds = secondsSince(start);
    return async () => ({
      seconds,
      loss: result.pairs[0]!.loss,
      gradNorm,
      ...references[pair]!,
      lengths: lengthsOf(pairs[pair]!),
    });
  };
}
