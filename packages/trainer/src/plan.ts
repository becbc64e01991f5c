export interface PlanOptions {
  /** Pairs of an epoch. */
  readonly pairs: number;
  /** Pairs of a micro-batch; 1. */
  readonly batchSize?: number;
  /** Micro-batches of a step; 1. */
  readonly gradientAccumulationSteps?: number;
  /** Passes over the data, fractions allowed; 1. */
  readonly epochs?: number;
  /** Steps of the run; above 0 it wins over `epochs`. */
  readonly maxSteps?: number;
}

/** How a run is cut into steps. */
export interface Plan {
  readonly pairs: number;
  readonly batchSize: number;
  readonly gradientAccumulationSteps: number;
  readonly microBatchesPerEpoch: number;
  readonly stepsPerEpoch: number;
  readonly totalSteps: number;
}

/** Where in the data a run stands: pairs already seen of an epoch, both counted from 0. */
export interface Cursor {
  readonly epoch: number;
  readonly pair: number;
}

/**
 * Counts steps as Hugging Face's Trainer does (`set_initial_training_values`): an epoch's last micro-batch and last
 * step take what is left, none reaches into the next epoch, and the run has ⌈epochs · stepsPerEpoch⌉ steps.
 *
 * @throws RangeError naming the option that is out of range.
 */
export function planSteps(options: PlanOptions): Plan {
  const { pairs, batchSize = 1, gradientAccumulationSteps = 1, epochs = 1, maxSteps = 0 } = options;
  if (!Number.isInteger(pairs) || pairs < 1)
    throw new RangeError(`there are ${pairs} pairs to train on: at least 1 is needed`);
  atLeastOne('per_device_train_batch_size', batchSize);
  atLeastOne('gradient_accumulation_steps', gradientAccumulationSteps);
  if (!Number.isInteger(maxSteps)) throw new RangeError(`max_steps must be a whole number, found ${maxSteps}`);
  if (maxSteps <= 0 && !(epochs > 0 && Number.isFinite(epochs))) {
    throw new RangeError(`num_train_epochs must be above 0, found ${epochs}`);
  }
  const microBatchesPerEpoch = Math.ceil(pairs / batchSize);
  const stepsPerEpoch = Math.ceil(microBatchesPerEpoch / gradientAccumulationSteps);
  const totalSteps = maxSteps > 0 ? maxSteps : Math.ceil(epochs * stepsPerEpoch);
  return { pairs, batchSize, gradientAccumulationSteps, microBatchesPerEpoch, stepsPerEpoch, totalSteps };
}

function atLeastOne(name: string, value: number): void {
  if (!Number.isInteger(value) || value < 1)
    throw new RangeError(`${name} must be a whole number, 1 or more, found ${value}`);
}

/** The positions in its epoch's order of the next step's pairs, by micro-batch, and where the step after it starts. */
export function nextStep(plan: Plan, cursor: Cursor): { readonly microBatches: number[][]; readonly after: Cursor } {
  const end = Math.min(plan.pairs, cursor.pair + plan.batchSize * plan.gradientAccumulationSteps);
  const microBatches: number[][] = [];
  for (let start = cursor.pair; start < end; start += plan.batchSize) {
    const size = Math.min(plan.batchSize, end - start);
    microBatches.push(Array.from({ length: size }, (_, i) => start + i));
  }
  const after = end === plan.pairs ? { epoch: cursor.epoch + 1, pair: 0 } : { epoch: cursor.epoch, pair: end };
  return { microBatches, after };
}

/** Epochs done, as Hugging Face's Trainer logs it: whole ones plus the share of this one's micro-batches. */
export function epochAt(plan: Plan, cursor: Cursor): number {
  return cursor.epoch + Math.ceil(cursor.pair / plan.batchSize) / plan.microBatchesPerEpoch;
}
