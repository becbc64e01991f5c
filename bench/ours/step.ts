import type { ActivationCheckpointing } from '@wpo/gemma';
import { tensorflowAdamW, tensorflowGradientNorm } from '@wpo/tensorflow/kernels';
import { adamW, precomputeReference, step, wpoPairLoss } from '@wpo/trainer';
import { lengthsOf, readPairs } from '../pairs';
import type { PairLengths } from '../products';
import { openPolicy, secondsSince, settle } from './open';
import { type ProductTime, timeProducts } from './product-rate';

export interface StepAnswer {
  readonly seconds: number;
  readonly loss: number;
  readonly lengths: PairLengths;
  /** Where asked for. */
  readonly products?: ProductTime;
}

/** Optimizer steps on one pair each, the reference computed before: what `wpo train` does of a step. */
export async function openStep(options: {
  readonly model: string;
  readonly pairs: string;
  readonly checkpointing: ActivationCheckpointing;
}) {
  const pairs = await readPairs(options.model, options.pairs);
  const { policy, config } = await openPolicy(options.model, options.checkpointing);
  const references = await precomputeReference({ policy, pairs });
  const optimizer = adamW({ kernel: tensorflowAdamW() });
  const loss = wpoPairLoss({ beta: 0.01, clamp: false }); // as TRL's
  const computeNorm = tensorflowGradientNorm();
  const steps = { policy, optimizer, loss, computeNorm, learningRate: 1e-6, maxGradNorm: 1 };

  return async ({ pair, products }: { pair: number; products: boolean }): Promise<() => Promise<StepAnswer>> => {
    const start = performance.now();
    const microBatches = [{ pairs: [pairs[pair]!], references: [references[pair]!] }];
    const result = await step({ ...steps, microBatches });
    await settle(policy);
    const seconds = secondsSince(start);
    const lengths = lengthsOf(pairs[pair]!);
    // asked for after the peak of memory is read
    return async () => ({
      seconds,
      loss: result.pairs[0]!.loss,
      lengths,
      ...(products ? { products: await timeProducts(config, lengths) } : {}),
    });
  };
}
