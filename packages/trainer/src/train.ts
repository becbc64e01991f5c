import { batchLoader, cursorAt, epochAt, planSteps } from './batches';
import { betterModel } from './best-model';
import { loadCheckpointWeights, restoreState, runSettings } from './checkpoint';
import { addHeldOutPairs, addTrainingPairs, collapseOf, healthyStart } from './collapse';
import { requireEqual } from './data-parallel';
import { NonFiniteError, StepStopped, TrainingError } from './errors';
import { evaluatePairs } from './evaluate';
import { firstNotFinite } from './finite';
import { onFirstRank, soloGroup } from './group';
import { addStep, emptyInterval, evaluationMetrics, type MetricsRow, trainingRow } from './metrics';
import { logsPairsOf, type PairRow, pairRows } from './pair-log';
import { wpoPairLoss } from './pair-loss';
import { weightsOf } from './policy';
import { preflight } from './preflight';
import { referenceOf } from './reference';
import { describeScheduleChange, schedule, warmupStepCount } from './schedule';
import { dividesState, withWholeState } from './sharding';
import { type StepResult, step as takeStep } from './step';
import { checkTrainOptions, type TrainOptions } from './train-options';
import { type TrainEvent, type TrainResult, type TrainRun, trainRun } from './train-run';
import type { SavedTensor } from './values';

/**
 * Trains a policy on preference pairs: step, log, evaluate, save, until all planned steps are done, the signal or the reader stops
 * the run, or the model collapses. Read its events with `for await`, or `await` its result: `TrainRun` describes both. A run that
 * was stopped or killed and then resumed has the same weights and metrics (except times), bit for bit, as one that never stopped,
 * provided that the backend computes the same bits twice.
 *
 * @throws TrainingError where options contradict each other, a loss or gradient is not finite, a weight is not finite before the
 *   first step or before a checkpoint is saved, a checkpoint belongs to another run, or a new run would overwrite checkpoints;
 *   RangeError for an option out of range.
 */
export const train = (options: TrainOptions): TrainRun =>
  trainRun((signal) => events({ ...options, signal }), options.signal);

async function* events(options: TrainOptions): AsyncGenerator<TrainEvent, TrainResult, void> {
  const warnings: TrainEvent[] = []; // until the loop can be left between two events
  try {
    return yield* steps(options, warnings);
  } catch (error) {
    yield* warnings;
    throw await (options.group ?? soloGroup).fail(error);
  }
}

async function* steps(options: TrainOptions, warnings: TrainEvent[]): AsyncGenerator<TrainEvent, TrainResult, void> {
  const { policy, optimizer, evaluation, checkpoints, signal, loss = wpoPairLoss(), group = soloGroup } = options;
  const { metrics, pairLog } = group.rank === 0 ? options : {};
  const { evalSteps = 0, loggingSteps = 10, saveSteps = 0, maxGradNorm = 1, skipNonfinite = 0 } = options;
  const { loadBestModelAtEnd = false, stopOnCollapse = false } = options;
  const warn = (message: string) => void warnings.push({ type: 'warning', message });
  checkTrainOptions(options, loss);
  const plan = planSteps({ ...options, pairs: options.pairs.length });
  const { totalSteps } = plan;
  const warmupSteps = warmupStepCount(totalSteps, options);
  const rate = schedule({ type: options.schedule ?? 'linear', totalSteps, warmupSteps });
  const rateAt = (at: number) => options.learningRate * rate(at);
  const reference = referenceOf(loss, options.reference);
  const loadBatches = batchLoader({ ...options, reference }, plan);
  const run = runSettings(options, plan, warmupSteps);

  const initial = (await restoreState({ ...options, warn }, run)) ?? {
    ...freshState,
    evaluationDue: options.evalOnStart === true,
  };
  let { step, tokens, interval, evaluationDue, skippedSteps, best, health, healthyUpTo, goodStep } = initial;
  let cursor = cursorAt(plan, step);
  const rows = [...initial.log];
  let savedAt = step;
  const mustEnd = () => stopOnCollapse && collapseOf(health) !== null;
  const scheduleChange = 'run' in initial && describeScheduleChange(initial.run, run, step);
  if (scheduleChange) warn(scheduleChange);
  yield* warnings.splice(0);
  await requireEqual(group, { step, ...run }, { what: 'settings of the run', hint: SAME_INPUT });
  await checkWeights(policy, step);
  if (options.preflight && step < totalSteps) {
    const gradientAccumulationSteps = Math.ceil(plan.gradientAccumulationSteps / group.size);
    await preflight({ ...options, loss, reference, gradientAccumulationSteps });
  }
  await metrics?.rewind?.(rows);
  await pairLog?.rewind?.(step);
  yield { type: 'start', step, totalSteps };
  const logsPairs = logsPairsOf(plan);
  let pairsToLog: PairRow[] = [];

  const due = (every: number) => every > 0 && (step % every === 0 || step === totalSteps);
  const saveIsDue = () => due(saveSteps) || step === totalSteps;
  const write = async (row: MetricsRow) => {
    await metrics?.write(row);
    rows.push(row);
  };
  const writePairs = async () => {
    if (pairsToLog.length > 0) await pairLog?.write(pairsToLog);
    pairsToLog = [];
  };
  const judge = (next: typeof health, upTo: number) => {
    const [before, now] = [collapseOf(health), collapseOf(next)];
    if (now === null) healthyUpTo = upTo;
    else if (before === null) warn(collapseWarning(step, now));
    health = next;
  };
  async function* save(): AsyncGenerator<TrainEvent, void, void> {
    if (savedAt > 0 && savedAt <= healthyUpTo) goodStep = savedAt;
    const optimizerState = optimizer.state();
    const optimizerStep = optimizerState.step;
    const random = options.random?.state() ?? null;
    const position = { step, tokens, log: rows, interval, evaluationDue, skippedSteps };
    const judged = { best, health, healthyUpTo, goodStep };
    const state = { version: 1, ...position, ...judged, optimizerStep, random, run } as const;
    await checkWeights(policy, step);
    const saveWith = async (tensors: Iterable<SavedTensor>) => {
      await writePairs(); // first: a resumed run expects the rows up to its checkpoint
      const keep = [best?.step, stopOnCollapse ? goodStep : null].filter((kept) => typeof kept === 'number');
      await checkpoints?.save({ state, weights: weightsOf(policy), optimizer: tensors, keep });
      return null;
    };
    if (dividesState(options)) await withWholeState({ group, parameters: policy.parameters }, optimizerState, saveWith);
    else await onFirstRank(group, `checkpoint of step ${step}`, () => saveWith(optimizerState.tensors));
    savedAt = step;
    if (checkpoints) yield { type: 'checkpoint', step };
  }
  const rowOf = (from: typeof interval, learningRate: number): MetricsRow => ({
    ...trainingRow(from, { step, epoch: epochAt(plan, cursor), learningRate, tokens, memory: options.usedMemory?.() }),
    'wpo/collapsed': collapseOf(health) === null ? 0 : 1,
    ...(skipNonfinite > 0 ? { skipped_steps: skippedSteps } : {}),
  });
  const log = async (learningRate: number) => {
    await write(rowOf(interval, learningRate));
    await writePairs();
    interval = emptyInterval;
  };

  let stepEvent: TrainEvent | undefined;
  while (true) {
    if (evaluationDue && evaluation && !mustEnd()) {
      const results = await evaluatePairs({ policy, loss, signal, group, ...evaluation });
      evaluationDue = results === null;
      if (results) {
        judge(addHeldOutPairs(health, results), step);
        const row = { step, epoch: epochAt(plan, cursor), ...evaluationMetrics(results) };
        await write(row);
        // a collapsed model has weights near 0, and so the lowest loss
        const isCandidate = loadBestModelAtEnd && step > 0 && saveIsDue() && collapseOf(health) === null;
        if (isCandidate) best = betterModel(best, row, options);
        yield* warnings.splice(0);
        yield { type: 'evaluation', step, metrics: row };
      }
    }
    yield* warnings.splice(0);
    if (savedAt < step && saveIsDue() && !mustEnd()) yield* save();
    if (stepEvent) yield stepEvent;
    if (step >= totalSteps || mustEnd()) break;
    if (signal?.aborted) {
      if (savedAt < step) yield* save();
      break;
    }

    const started = performance.now();
    const learningRate = rateAt(step);
    const { optimizerInBackward, offloadGradients, computeNorm, sharding } = options;
    const how = { maxGradNorm, optimizerInBackward, offloadGradients, sharding, group, computeNorm, signal };
    let result: StepResult | null = null;
    let after = cursor;
    try {
      const batches = await loadBatches(cursor);
      after = batches.after;
      const { microBatches } = batches;
      result = await takeStep({ policy, optimizer, loss, microBatches, learningRate, step: step + 1, ...how });
      if (pairLog && logsPairs(step + 1)) pairsToLog.push(...pairRows(step + 1, microBatches, result.pairs));
    } catch (error) {
      if (error instanceof StepStopped) {
        stepEvent = undefined;
        continue; // to the end of the loop's work: saving
      }
      if (!(error instanceof NonFiniteError) || skippedSteps >= skipNonfinite) throw error;
      skippedSteps += 1;
      warn(`${error.message}\nThis step is skipped (${skippedSteps} of at most ${skipNonfinite}).`);
    }
    const seconds = (performance.now() - started) / 1000;

    step += 1;
    cursor = after;
    let stepInterval = emptyInterval;
    if (result) {
      tokens += result.pairs.reduce((total, pair) => total + pair.tokens, 0);
      interval = addStep(interval, result, seconds);
      stepInterval = addStep(emptyInterval, result, seconds);
      const { state, judged } = addTrainingPairs(health, result.pairs, loss.needsReference !== false);
      if (judged) judge(state, step - 1);
      health = state;
    }
    stepEvent = { type: 'step', step, totalSteps, metrics: rowOf(stepInterval, learningRate) };
    if (due(loggingSteps)) await log(learningRate);
    evaluationDue = evaluation !== undefined && due(evalSteps);
  }
  await writePairs();
  const stopped = step < totalSteps || (evaluationDue && evaluation !== undefined);
  if (mustEnd() && loggingSteps > 0 && interval.steps > 0) await log(rateAt(step - 1));
  let restoredStep: number | null = null;
  if (mustEnd()) restoredStep = savedAt > 0 && savedAt <= healthyUpTo ? savedAt : goodStep;
  else if (best && !stopped && best.step !== step) restoredStep = best.step;
  if (restoredStep !== null) await loadCheckpointWeights(policy, checkpoints, restoredStep);
  return {
    step,
    totalSteps,
    epoch: epochAt(plan, cursor),
    tokens,
    stopped,
    skippedSteps,
    best,
    collapse: collapseOf(health),
    restoredStep,
  };
}

const freshState = {
  step: 0,
  tokens: 0,
  log: [],
  interval: emptyInterval,
  skippedSteps: 0,
  best: null,
  health: healthyStart,
  healthyUpTo: 0,
  goodStep: null,
};

const SAME_INPUT =
  'All ranks must have the same configuration, model and pairs, and the same output_dir, on a file system that all machines share.';

const collapseWarning = (step: number, reason: string) =>
  `after step ${step} the model has collapsed: ${reason}. It has unlearned to write answers, whatever accuracy and margin say. ` +
  'Stop the run and start again with a lower learning_rate or a higher beta; stop_on_collapse: true does the first.';

/** @throws TrainingError naming the tensor, where a weight is not finite. */
async function checkWeights(policy: TrainOptions['policy'], step: number): Promise<void> {
  const tensor = await firstNotFinite(policy);
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
