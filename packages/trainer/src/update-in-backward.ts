import { RESUME_ADVICE } from './check-pair';
import { allReduceGradients, gradientsOf } from './data-parallel';
import { NonFiniteError, StepStopped, TrainingError } from './errors';
import { pauseAndCheck } from './event-loop';
import { firstOverflow, gradientNorm } from './gradient-norm';
import { soloGroup } from './group';
import { type Parameter, zeroGradients } from './policy';
import type { StepOptions } from './step-options';

/**
 * The updates of a step with `optimizerInBackward`. Each is made as soon as the backward pass has the gradients of some parameters, and
 * these gradients are freed. A signal gives the step up only before the first update.
 */
export function updateInBackward(options: StepOptions) {
  const { policy, optimizer, learningRate, group = soloGroup, computeNorm = gradientNorm, signal } = options;
  const { parameters } = policy;
  let update: ReturnType<typeof optimizer.beginStep> | null = null;
  let squares = 0;
  return {
    /** For the passes of the step. */
    pause: pauseAndCheck(() => {
      if (signal?.aborted && !update) throw new StepStopped();
    }),
    async gradientsReady(ready: readonly Parameter[]): Promise<void> {
      await allReduceGradients(group, ready, { what: gradientsOf(options) });
      const norm = await computeNorm(ready);
      if (!Number.isFinite(norm)) throw await gradientError(options, { norm, ready, hasUpdated: update !== null });
      squares += norm ** 2;
      update ??= optimizer.beginStep({ parameters, learningRate, gradientScale: 1 });
      await update(ready);
      zeroGradients(ready);
    },
    /** The norm of all gradients. */
    gradNorm: () => Math.sqrt(squares),
  };
}

interface Overflow {
  readonly norm: number;
  readonly ready: readonly Parameter[];
  readonly hasUpdated: boolean;
}

/** Its pairs are not run again, to find the one, because other weights may have changed since. */
async function gradientError({ microBatches, step }: StepOptions, { norm, ready, hasUpdated }: Overflow) {
  const ids = microBatches.flatMap(({ pairs }) => pairs.map(({ id }) => `"${id}"`));
  const name = await firstOverflow(ready);
  const advice = hasUpdated
    ? 'Weights of later layers were changed, so this model is not saved. Resume from the last checkpoint with a lower learning_rate. If it ' +
      'fails again, inspect the rows, and start a new run without the bad one.'
    : `No weight was changed. ${RESUME_ADVICE}`;
  const message =
    `${step === undefined ? '' : `step ${step}: `}${ids.length > 1 ? 'pairs' : 'pair'} ${ids.join(', ')}: expected a finite gradient, ` +
    `found norm ${norm}${name ? `, first in "${name}"` : ''}. ${advice}`;
  return hasUpdated ? new TrainingError(message, { step }) : new NonFiniteError(message, { step });
}
