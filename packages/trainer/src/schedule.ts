/** How the learning rate goes on after the warm-up, by Hugging Face's `lr_scheduler_type` names. */
export type ScheduleType = 'cosine' | 'linear' | 'constant' | 'constant_with_warmup';

export const scheduleTypes: readonly ScheduleType[] = ['cosine', 'linear', 'constant', 'constant_with_warmup'];

export interface ScheduleOptions {
  readonly type: ScheduleType;
  /** Optimizer steps of the whole run. */
  readonly totalSteps: number;
  /** Steps of linear warm-up, see `warmupStepCount`; 0. */
  readonly warmupSteps?: number;
}

/** The factor on the peak learning rate at a step, counted from 0: the first step of a run uses `schedule(0)`. */
export type Schedule = (step: number) => number;

/**
 * Learning-rate schedules as in Hugging Face's `optimization.py`: `step / warmupSteps` during the warm-up, so the first
 * step of a warmed-up run has rate 0, then
 * - `cosine`: ½ (1 + cos(π · progress)), progress from 0 to 1 over the steps after the warm-up;
 * - `linear`: 1 − progress;
 * - `constant_with_warmup`: 1;
 * - `constant`: 1, warm-up ignored.
 *
 * @throws RangeError for an unknown type.
 */
export function schedule({ type, totalSteps, warmupSteps = 0 }: ScheduleOptions): Schedule {
  const warm = Math.max(1, warmupSteps);
  const rest = Math.max(1, totalSteps - warmupSteps);
  const warmedUp = (after: Schedule): Schedule => {
    return (step) => (step < warmupSteps ? step / warm : after(step));
  };
  switch (type) {
    case 'cosine':
      return warmedUp((step) => Math.max(0, 0.5 * (1 + Math.cos(Math.PI * ((step - warmupSteps) / rest)))));
    case 'linear':
      return warmedUp((step) => Math.max(0, (totalSteps - step) / rest));
    case 'constant_with_warmup':
      return warmedUp(() => 1);
    case 'constant':
      return () => 1;
    default:
      throw new RangeError(`unknown lr_scheduler_type "${type}": it is one of ${scheduleTypes.join(', ')}`);
  }
}

/**
 * Warm-up steps as Hugging Face's Trainer counts them: `warmupSteps` where above 0, else ⌈ratio · totalSteps⌉.
 *
 * @throws RangeError where `warmupSteps` is no whole number or `warmupRatio` is outside 0..1.
 */
export function warmupStepCount(
  totalSteps: number,
  { warmupSteps = 0, warmupRatio = 0 }: { readonly warmupSteps?: number; readonly warmupRatio?: number },
): number {
  if (!Number.isInteger(warmupSteps) || warmupSteps < 0) {
    throw new RangeError(
      `warmup_steps must be a whole number, 0 or more, found ${warmupSteps}; a share is warmup_ratio`,
    );
  }
  if (!(warmupRatio >= 0 && warmupRatio <= 1)) {
    throw new RangeError(`warmup_ratio must lie in 0..1, found ${warmupRatio}; a count of steps is warmup_steps`);
  }
  return warmupSteps > 0 ? warmupSteps : Math.ceil(totalSteps * warmupRatio);
}
