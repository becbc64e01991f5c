import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { ActivationCheckpointing } from '@wpo/gemma';
import { tensorflowGradientNorm, tensorflowOptimizer } from '@wpo/tensorflow/kernels';
import { adamW, precomputeReference, type ReferenceLogps, referenceLogps, step, wpoPairLoss } from '@wpo/trainer';
import { lengthsOf, readPairs } from '../inputs';
import type { PairLengths } from '../matrix-products';
import { residentBytes } from '../memory';
import { type ProductTime, timeProducts } from './matrix-products';
import { openPolicy, secondsSince, waitForDevice } from './policy';

export interface StepAnswer {
  readonly seconds: number;
  readonly loss: number;
  readonly lengths: PairLengths;
  /** Present where the request asks for it. */
  readonly products?: ProductTime;
}

/** Optimizer steps on one pair each, with precomputed reference log-probs, as in `wpo train`. */
export async function openStep(options: {
  readonly model: string;
  readonly pairs: string;
  readonly checkpointing: ActivationCheckpointing;
}) {
  const pairs = await readPairs(options.model, options.pairs);
  const { policy, config } = await openPolicy(options.model, options.checkpointing);
  const references = await precomputeReference({ policy, pairs });
  const optimizer = adamW({ kernel: tensorflowOptimizer() });
  const loss = wpoPairLoss({ beta: 0.01, clamp: false }); // as in TRL
  const computeNorm = tensorflowGradientNorm();
  const steps = { policy, optimizer, loss, computeNorm, learningRate: 1e-6, maxGradNorm: 1 };

  return async ({ pair, products }: { pair: number; products: boolean }): Promise<() => Promise<StepAnswer>> => {
    const start = performance.now();
    const microBatches = [{ pairs: [pairs[pair]!], references: [references[pair]!] }];
    const result = await step({ ...steps, microBatches });
    await waitForDevice(policy);
    const seconds = secondsSince(start);
    const lengths = lengthsOf(pairs[pair]!);
    // products are timed after the peak memory of the step was read
    return async () => ({
      seconds,
      loss: result.pairs[0]!.loss,
      lengths,
      ...(products ? { products: await timeProducts(config, lengths) } : {}),
    });
  };
}

export interface ReferenceAnswer extends ReferenceLogps {
  readonly seconds: number;
  readonly lengths: PairLengths;
}

/** Log-probs of both answers of a pair, without gradients. */
export async function openReference(options: { readonly model: string; readonly pairs: string }) {
  const pairs = await readPairs(options.model, options.pairs);
  const { policy } = await openPolicy(options.model);
  return async ({ pair }: { pair: number }) => {
    const start = performance.now();
    const [logps] = await referenceLogps(policy, [pairs[pair]!]);
    const seconds = secondsSince(start);
    return async (): Promise<ReferenceAnswer> => ({ seconds, ...logps!, lengths: lengthsOf(pairs[pair]!) });
  };
}

export interface MemoryAnswer {
  readonly residentBytes: number;
}

/** Many steps, one pair after another. */
export async function openMemory(options: { readonly model: string; readonly pairs: string; readonly count: number }) {
  const takeStep = await openStep({ ...options, checkpointing: 'auto' });
  let done = 0;
  return async ({ steps }: { steps: number }) => {
    for (let i = 0; i < steps; i++) await takeStep({ pair: done++ % options.count, products: false });
    return async (): Promise<MemoryAnswer> => {
      await collectGarbage();
      return { residentBytes: residentBytes() };
    };
  };
}

/**
 * Collects garbage before memory is read: on its own, Node lets 25 MB more of it accumulate. Four times with pauses, since it
 * returns pages only from one collection to the next.
 */
async function collectGarbage(): Promise<void> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  for (let time = 0; time < 4; time++) {
    collect();
    await sleep(50);
  }
}
