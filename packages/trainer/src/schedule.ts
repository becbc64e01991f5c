import { checkNumber } from './check-number';

/** Hugging Face's names of learning-rate schedules (`lr_scheduler_type`). */
export type ScheduleType = 'cosine' | 'linear' | 'constant' | 'constant_with_warmup';

export const scheduleTypes: readonly ScheduleType[] = ['cosine', 'linear', 'constant', 'constant_with_warmup'];

export interface ScheduleOptions {
  readonly type: ScheduleType;
  /** Optimizer steps of the run. */
  readonly totalSteps: number;
  /** Steps of linear warm-up, see `warmupStepCount`. Default 0. */
  readonly warmupSteps?: number;
}

/** The factor of the peak learning rate at a step. Steps are counted from 0. */
export type Schedule = (step: number) => number;

/**
 * Learning-rate schedules as in Hugging Face's `optimization.py`. During the warm-up the factor is `step / warmupSteps`, so the
 * first step of a run with a warm-up has rate 0. After it:
 * - `cosine`: ½ (1 + cos(π · progress)), progress from 0 to 1 over the steps after the warm-up;
 * - `linear`: 1 − progress;
 * - `constant_with_warmup`: 1;
 * - `constant`: 1, without a warm-up.
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
      throw new RangeError(`lr_scheduler_type: expected one of ${scheduleTypes.join(', ')}, found "${type}"`);
  }
}

/**
 * Warm-up steps as Hugging Face's Trainer counts them: `warmupSteps` where it is above 0, else ⌈warmupRatio · totalSteps⌉.
 *
 * @throws RangeError where `warmupSteps` is not an integer of at least 0, or `warmupRatio` is not in 0..1.
 */
export function warmupStepCount(
  totalSteps: number,
  { warmupSteps = 0, warmupRatio = 0 }: { readonly warmupSteps?: number; readonly warmupRatio?: number },
): number {
  checkNumber('warmupSteps', warmupSteps);
  checkNumber('warmupRatio', warmupRatio);
  return warmupSteps > 0 ? warmupSteps : Math.ceil(totalSteps * warmupRatio);
}

/** The settings of a run that decide its learning rates, as a checkpoint records them. */
type RecordedRun = Readonly<Record<string, unknown>>;

/**
 * What changed settings mean for the next step of a resumed run, in words; null where its learning rates stay as they were, or no
 * step is left.
 *
 * @param step the steps that are done
 */
export function describeScheduleChange(before: RecordedRun, now: RecordedRun, step: number): string | null {
  const keys = ['total_steps', 'warmup_steps', 'learning_rate'] as const;
  if (keys.every((key) => before[key] === now[key]) || step === 0 || step >= Number(now.total_steps)) return null;
  const rateOf = (run: RecordedRun, at: number) => {
    const [totalSteps, warmupSteps, peak] = keys.map((key) => Number(run[key])) as [number, number, number];
    const rate = peak * schedule({ type: run.lr_scheduler_type as ScheduleType, totalSteps, warmupSteps })(at);
    return Number(rate.toPrecision(3));
  };
  return (
    `The learning rate was ${rateOf(before, step - 1)} at step ${step} and is ${rateOf(now, step)} at step ${step + 1}. From here on ` +
    `it follows the schedule of a run planned with these settings: ${now.lr_scheduler_type}, ${now.total_steps} steps, warm-up ` +
    `${now.warmup_steps}, peak ${now.learning_rate}.`
  );
}
