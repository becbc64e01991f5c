import { batchLoader, epochAt, planSteps } from './batches';
import { type BestModel, betterModel } from './best-model';
import { loadCheckpointWeights, restoreState, runSettings, weightsOf } from './checkpoint';
import { addHeldOutPairs, addTrainingPairs, healthyStart } from './collapse';
import { NonFiniteError, TrainingError } from './errors';
import { evaluatePairs } from './evaluate';
import { firstNotFinite } from './finite';
import { addStep, emptyInterval, evaluationMetrics, type MetricsRow, trainingRow } from './metrics';
import { wpoPairLoss } from './pair-loss';
import { preflight } from './preflight';
import { referenceOf } from './reference';
import { schedule, warmupStepCount } from './schedule';
import { type StepResult, step as takeStep } from './step';
import { checkTrainOptions, type StepReport, type TrainOptions } from './train-options';

export interface TrainResult {
  /** Steps done, those before a resume included. */
  readonly step: number;
  readonly totalSteps: number;
  readonly epoch: number;
  /** Tokens seen. */
  readonly tokens: number;
  /** Whether the signal, or a collapse with `stopOnCollapse`, ended the run early. */
  readonly stopped: boolean;
  /** Steps that were left out because a loss or gradient was not finite. */
  readonly skippedSteps: number;
  /** The best checkpoint; null unless `loadBestModelAtEnd` is set. The policy has its weights if all steps were done. */
  readonly best: BestModel | null;
  /** The last judgement on the model; null where it is healthy. */
  readonly collapse: Collapse | null;
}

export interface Collapse {
  /** What has collapsed, in words. */
  readonly reason: string;
  /**
   * With `stopOnCollapse`: the step of the last checkpoint before the collapse, whose weights the policy has; null where none was
   * saved. Without: null.
   */
  readonly restoredStep: number | null;
}

/**
 * Trains a policy on preference pairs: step, log, evaluate, save, until all planned steps are done, the signal stops the run, or
 * the model collapses. A run that was stopped or killed and then resumed has the same weights and metrics (except times), bit for
 * bit, as one that never stopped, provided that the backend computes the same bits twice.
 *
 * @throws TrainingError where options contradict each other, a loss or gradient is not finite, a weight is not finite before the
 *   first step or before a checkpoint is saved, a checkpoint belongs to another run, or a new run would overwrite checkpoints;
 *   RangeError for an option out of range.
 */
export async function train(options: TrainOptions): Promise<TrainResult> {
  const { policy, optimizer, evaluation, metrics, checkpoints, signal, loss = wpoPairLoss() } = options;
  const { evalSteps = 0, loggingSteps = 10, saveSteps = 0, maxGradNorm = 1, skipNonfinite = 0 } = options;
  const { loadBestModelAtEnd = false, stopOnCollapse = false, warn = console.warn } = options;
  checkTrainOptions(options, loss);
  const plan = planSteps({ ...options, pairs: options.pairs.length });
  const { totalSteps } = plan;
  const warmupSteps = warmupStepCount(totalSteps, options);
  const rate = schedule({ type: options.schedule ?? 'linear', totalSteps, warmupSteps });
  const reference = referenceOf(loss, options.reference);
  const loadBatches = batchLoader({ ...options, reference }, plan);
  const run = runSettings(options, plan, warmupSteps);

  const initial = (await restoreState(options, run)) ?? { ...freshState, evaluationDue: options.evalOnStart === true };
  let { step, cursor, tokens, rows, interval, evaluationDue, skippedSteps, best, health, goodStep } = initial;
  let savedAt = step;
  let healthyUpTo = step; // the weights after this step have been judged healthy
  const hasCollapsed = () => health.collapse !== null && stopOnCollapse;
  await checkWeights(policy, step);
  if (options.preflight && step < totalSteps) await preflight({ ...options, loss, reference });
  await metrics?.rewind?.(rows);

  const due = (every: number) => every > 0 && (step % every === 0 || step === totalSteps);
  const saveIsDue = () => due(saveSteps) || step === totalSteps;
  const write = async (row: MetricsRow) => {
    await metrics?.write(row);
    rows += 1;
  };
  const judge = (next: typeof health, upTo: number) => {
    if (next.collapse === null) healthyUpTo = upTo;
    else if (health.collapse === null) warn(collapseWarning(step, next.collapse));
    health = next;
  };
  const save = async () => {
    if (savedAt > 0 && savedAt <= healthyUpTo) goodStep = savedAt;
    const { step: optimizerStep, tensors } = optimizer.state();
    const random = options.random?.state() ?? null;
    const position = { step, cursor, tokens, rows, interval, evaluationDue, skippedSteps, best, health, goodStep };
    const state = { version: 1, ...position, optimizerStep, random, run } as const;
    await checkWeights(policy, step);
    const keep = [best?.step, stopOnCollapse ? goodStep : null].filter((kept) => typeof kept === 'number');
    await checkpoints?.save({ state, weights: weightsOf(policy), optimizer: tensors, keep });
    savedAt = step;
  };
  const collapsed = () => ({ 'wpo/collapsed': health.collapse === null ? 0 : 1 });

  let report: StepReport | undefined;
  while (true) {
    if (evaluationDue && evaluation && !hasCollapsed()) {
      const results = await evaluatePairs({ policy, loss, signal, ...evaluation });
      evaluationDue = results === null;
      if (results) {
        judge(addHeldOutPairs(health, results), step);
        const row = { step, epoch: epochAt(plan, cursor), ...evaluationMetrics(results) };
        await write(row);
        if (loadBestModelAtEnd && step > 0 && saveIsDue()) best = betterModel(best, row, options);
        await options.onEvaluation?.(row);
      }
    }
    if (savedAt < step && saveIsDue() && !hasCollapsed()) await save();
    if (report) await options.onStep?.(report);
    if (step >= totalSteps || hasCollapsed()) break;
    if (signal?.aborted) {
      if (savedAt < step) await save();
      break;
    }

    const started = performance.now();
    const learningRate = options.learningRate * rate(step);
    const { microBatches, after } = await loadBatches(cursor);
    const { allReduceGradients, computeNorm } = options;
    const settings = { learningRate, maxGradNorm, step: step + 1, allReduceGradients, computeNorm };
    let result: StepResult | null = null;
    try {
      result = await takeStep({ policy, optimizer, loss, microBatches, ...settings });
    } catch (error) {
      if (!(error instanceof NonFiniteError) || skippedSteps >= skipNonfinite) throw error;
      skippedSteps += 1;
      warn(`${error.message}\nThis step is skipped (${skippedSteps} of at most ${skipNonfinite}).`);
    }
    const seconds = (performance.now() - started) / 1000;

    step += 1;
    cursor = after;
    const counts: MetricsRow = skipNonfinite > 0 ? { skipped_steps: skippedSteps } : {};
    let stepInterval = emptyInterval;
    if (result) {
      tokens += result.pairs.reduce((total, pair) => total + pair.tokens, 0);
      interval = addStep(interval, result, seconds);
      stepInterval = addStep(emptyInterval, result, seconds);
      const { state, judged } = addTrainingPairs(health, result.pairs, loss.needsReference !== false);
      if (judged) judge(state, step - 1);
      health = state;
    }
    const context = { step, epoch: epochAt(plan, cursor), learningRate, tokens };
    const rowOf = (from: typeof interval) => ({ ...trainingRow(from, context), ...collapsed(), ...counts });
    report = { step, totalSteps, metrics: rowOf(stepInterval) };
    if (due(loggingSteps) || (hasCollapsed() && loggingSteps > 0)) {
      await write(rowOf(interval));
      interval = emptyInterval;
    }
    evaluationDue = evaluation !== undefined && due(evalSteps);
  }
  const stopped = step < totalSteps || (evaluationDue && evaluation !== undefined);
  let collapse: Collapse | null = health.collapse === null ? null : { reason: health.collapse, restoredStep: null };
  if (hasCollapsed()) {
    const restoredStep = savedAt > 0 && savedAt <= healthyUpTo ? savedAt : goodStep;
    if (restoredStep !== null) await loadCheckpointWeights(policy, checkpoints, restoredStep);
    collapse = { reason: health.collapse!, restoredStep };
  } else if (best && !stopped && best.step !== step) {
    await loadCheckpointWeights(policy, checkpoints, best.step);
  }
  return { step, totalSteps, epoch: epochAt(plan, cursor), tokens, stopped, skippedSteps, best, collapse };
}

const freshState = {
  step: 0,
  cursor: { epoch: 0, pair: 0 },
  tokens: 0,
  rows: 0,
  interval: emptyInterval,
  skippedSteps: 0,
  best: null,
  health: healthyStart,
  goodStep: null,
};

const collapseWarning = (step: number, reason: string) =>
  `after step ${step} the model has collapsed: ${reason}. It has unlearned to write answers, whatever accuracy and margin say. ` +
  'Stop the run and start again with a lower learning_rate or a higher beta; stop_on_collapse: true does the first.';

/** @throws TrainingError naming the tensor, where a weight is not finite. */
async function checkWeights(policy: TrainOptions['policy'], step: number): Promise<void> {
  const tensor = await firstNotFinite(weightsOf(policy));
  if (tensor === null) return;
  throw new TrainingError(
    step === 0
      ? `weights: expected finite numbers, found NaN or infinity in "${tensor}" before the first step. The model's file is ` +
          'damaged, or the run that made it has diverged. Use another model.'
      : `step ${step}: expected finite weights, found NaN or infinity in "${tensor}". This model is not saved. Resume from the ` +
          'last checkpoint with a lower learning_rate.',
    { step },
  );
}
