import {
  adapted,
  adaptedModules,
  type FrozenWeight,
  type Gemma2,
  type Gemma2Config,
  type GemmaPolicy,
  gemmaPolicy,
  type LoraConfig,
  loadWeights,
  type Parameter,
  parametersOf,
  type TensorSource,
  tensorShapes,
} from '@wpo/gemma';
import { readModelFolder } from '@wpo/gemma/node';
import { gradientNorm, planSteps, type RuleOptimizer, type TokenPair } from '@wpo/trainer';
import { modulesOf } from '../adapters';
import { fromInput } from '../errors';
import type { Backend } from '../models';
import { MAX_ANSWER, plannedAnswers } from '../report/prompt-answers';
import { batchesPerStep, type TrainConfig } from '../schemas/train';
import { counted } from '../terminal/format';
import { formatDuration } from '../terminal/progress';
import { type AnswerTime, planAnswers } from './answer-time';
import { keptLayers, type MemoryPlan, type PlannedRun, withLayers } from './memory-plan';
import { optimizerOf } from './optimizer';
import { adapterOf } from './references';

// The time of a run on this machine, from a calibration: a micro-batch of about mean length runs through the first three layers of the
// model, and through the first alone, forward and backward. The difference is the time of two layers, one of each kind of attention;
// the rest is that of the embedding, the last layer and the output head. The optimizer updates these layers.

/** What the steps and the answers of a run take, in seconds. Evaluation and checkpoints come on top. */
export interface TimePlan {
  readonly steps: number;
  readonly secondsPerStep: number;
  /** The part of a step that clips the gradient and changes the weights. */
  readonly updateSeconds: number;
  /** Of the pass over all pairs that computes the reference's log-probs before the first step; 0 if there is none. */
  readonly referenceSeconds: number;
  /** Of the answers to `eval_prompts` and held-out prompts: if each is as long as it may be. */
  readonly answers: AnswerTime;
  /** What was measured. */
  readonly calibration: {
    readonly layers: number;
    /** Of the micro-batch: each prompt once, and both answers. */
    readonly tokens: number;
    /** The time that it took, with loading the layers. */
    readonly seconds: number;
  };
}

/** Layers that are run: after the first, one of each kind of attention. */
const LAYERS = 3;
/** Tokens of the first pair that is measured. Each one after it is four times as long, up to the mean length. */
const SHORT = 48;
const GROWTH = 4;
/** Times that the last part is measured, if there is time. */
const ROUNDS = 5;
/** No pass is begun that would probably end later than this, in seconds. */
const LONGEST = 16;

/**
 * Plans the time of a run that fits in memory. It takes about 20 seconds at most: where a pair of mean length would take longer, the
 * first part of it is measured.
 *
 * @param memory the plan of the run's memory
 * @returns undefined if the run trains an adapter that changes none of the first layers
 * @throws {UserError} as loading the model does
 */
export async function planTime(
  run: PlannedRun,
  backend: Backend,
  memory: Pick<MemoryPlan, 'activationBytes' | 'trained'>,
): Promise<TimePlan | undefined> {
  const startedAt = performance.now();
  const { config, loss, pairs } = run;
  const { steps, pairsPerStep, pairsPerPass, pair, meanTokens } = passesOf(config, pairs.train);
  const layers = await loadFirstLayers(run, backend);
  if (layers === undefined) return undefined;
  try {
    const answers = await planAnswers(
      await plannedAnswers(run, steps),
      {
        ...{ all: layers.model.numHiddenLayers, count: layers.count },
        ...{ some: layers.policy.model, first: layers.first.model },
      },
      { kernels: backend.kernels, maxTokens: MAX_ANSWER },
    );
    const { shorter, longest } = await measure(layers, pair, { pairsPerPass, backend, startedAt });
    /** Of a pair of mean length. */
    const perPair = (seconds: (round: Round) => number) => {
      const [long, short] = [longest, shorter].map((one) => one && { seconds: seconds(one.round), tokens: one.tokens });
      return secondsOfPass(meanTokens * pairsPerPass, long!, short) / pairsPerPass;
    };
    const { numHiddenLayers } = layers.model;
    const ofLayer = (all: number, first: number) =>
      layers.count > 1 ? Math.max(0, all - first) / (layers.count - 1) : 0;
    const layerForward = ({ forward, firstForward }: Round) => ofLayer(forward, firstForward);
    const layerBackward = ({ backward, firstBackward }: Round) => ofLayer(backward, firstBackward);
    const others = numHiddenLayers - layers.count;
    const forward = perPair((round) => round.forward + others * layerForward(round));
    const backward = perPair((round) => round.backward + others * layerBackward(round));
    const kept = await keptLayers(run, memory.activationBytes, new Array<TokenPair>(pairsPerPass).fill(pair));
    const recomputed = perPair((round) => (numHiddenLayers - kept) * layerForward(round));
    const update = (longest.round.update * memory.trained) / layers.trained;
    const reference = loss.needsReference === false ? 0 : forward;
    const eachStep = config.precomputeRefLogProbs ? 0 : reference;
    return {
      steps,
      secondsPerStep: pairsPerStep * (forward + backward + recomputed + eachStep) + update,
      updateSeconds: update,
      referenceSeconds: config.precomputeRefLogProbs ? new Set(pairs.train).size * reference : 0,
      answers,
      calibration: {
        layers: layers.count,
        tokens: longest.tokens,
        seconds: (performance.now() - startedAt) / 1000,
      },
    };
  } finally {
    layers.dispose();
  }
}

/** A pass that was measured. */
interface MeasuredPass {
  readonly seconds: number;
  readonly tokens: number;
}

/**
 * Seconds of a pass of `tokens` tokens, on the line through two measured ones; through the origin if there is one. The line neither
 * falls nor begins below 0, whatever else the machine did meanwhile.
 */
export function secondsOfPass(
  tokens: number,
  long: MeasuredPass,
  short: MeasuredPass = { seconds: 0, tokens: 0 },
): number {
  const slope = (long.seconds - short.seconds) / (long.tokens - short.tokens);
  const perToken = Math.min(Math.max(0, slope), long.seconds / long.tokens);
  return long.seconds + perToken * (tokens - long.tokens);
}

/** How a run divides its pairs, and a pair of about their mean length. */
function passesOf(config: TrainConfig, pairs: readonly TokenPair[]) {
  const { perDeviceTrainBatchSize: batchSize, maxTokensPerPack } = config;
  const gradientAccumulationSteps = batchesPerStep(config);
  const { totalSteps } = planSteps({
    ...{ pairs: pairs.length, batchSize, gradientAccumulationSteps },
    ...{ epochs: config.numTrainEpochs, maxSteps: config.maxSteps },
  });
  const meanTokens = sum(pairs.map(tokensOf)) / pairs.length;
  const distance = (pair: TokenPair) => Math.abs(tokensOf(pair) - meanTokens);
  const pair = pairs.reduce((best, one) => (distance(one) < distance(best) ? one : best));
  const pairsPerStep = Math.min(pairs.length, batchSize * gradientAccumulationSteps);
  const packed = maxTokensPerPack === undefined ? batchSize : Math.floor(maxTokensPerPack / tokensOf(pair));
  const pairsPerPass = Math.min(pairsPerStep, Math.max(1, packed));
  return { steps: totalSteps, pairsPerStep, pairsPerPass, pair, meanTokens };
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
const tokensOf = ({ prompt, chosen, rejected }: TokenPair) => prompt.length + chosen.length + rejected.length;

/** The first part of a pair's prompt and answers, of at least one token each. */
function shortened(pair: TokenPair, fraction: number): TokenPair {
  const first = (ids: TokenPair['prompt']) => Array.from(ids).slice(0, Math.max(1, Math.round(fraction * ids.length)));
  return { ...pair, prompt: first(pair.prompt), chosen: first(pair.chosen), rejected: first(pair.rejected) };
}

/** The first layers of a model, and what runs them. */
interface FirstLayers {
  /** The configuration of the whole model. */
  readonly model: Gemma2Config;
  /** The number of these layers. */
  readonly count: number;
  readonly policy: GemmaPolicy;
  /** A policy of the first layer alone. */
  readonly first: GemmaPolicy;
  /** The number of their parameters that are trained. */
  readonly trained: number;
  readonly optimizer: RuleOptimizer;
  dispose(): void;
}

/** Loads the embedding and the first layers of the model that a run trains. An adapter is a new one. */
async function loadFirstLayers(
  { config, storage }: PlannedRun,
  { kernels, loadTensor, optimizer: kernel }: Backend,
): Promise<FirstLayers | undefined> {
  const { config: model, checkpoint } = await fromInput(() => readModelFolder(config.modelNameOrPath));
  const part = withLayers(model, Math.min(LAYERS, model.numHiddenLayers));
  const owned: { dispose(): void }[] = [];
  const dispose = () => {
    for (const one of owned) one.dispose();
  };
  try {
    const choice = adapterOf(config);
    const lora = choice && { ...(await fromInput(() => modulesOf(choice, model))).config, layersToTransform: null };
    if (lora && !changesAny(lora, part)) return undefined;
    const source: TensorSource = { ...checkpoint, names: () => [...tensorShapes(part).keys()] };
    const base = await fromInput<Gemma2<FrozenWeight | Parameter>>(() =>
      lora
        ? loadWeights(part, source, { trainable: false, loadTensor: storage.loadTensor })
        : loadWeights(part, source, { kernels, loadTensor }),
    );
    owned.push(...parametersOf<FrozenWeight | Parameter>(base));
    const adaptedModel = lora && adapted(base, lora, { kernels });
    if (adaptedModel) owned.push(adaptedModel.adapter);
    const optimizer = optimizerOf(config, kernel(config));
    owned.push(optimizer);
    const layers = adaptedModel ?? base;
    const policyOf = (of: Gemma2) => gemmaPolicy(of, { kernels, activationCheckpointing: 'never' });
    const policy = policyOf(layers);
    return {
      ...{ model, policy, optimizer, dispose, count: part.numHiddenLayers },
      first: policyOf({ ...layers, config: withLayers(model, 1), layers: layers.layers.slice(0, 1) }),
      trained: sum(policy.parameters.map(({ shape }) => shape.reduce((size, n) => size * n, 1))),
    };
  } catch (error) {
    dispose();
    throw error;
  } finally {
    await checkpoint.close();
  }
}

/** Whether an adapter changes a linear layer of a model. */
function changesAny(lora: LoraConfig, model: Gemma2Config): boolean {
  try {
    return adaptedModules(lora, model, '').length > 0;
  } catch {
    return false;
  }
}

/** A round of passes through some tokens. */
interface Measurement {
  readonly tokens: number;
  readonly round: Round;
}

/**
 * Measures longer and longer parts of a pair, until the whole pair or the longest time is reached. Returns the last two. In the time that
 * is left, the last is measured again, and the fastest times count.
 *
 * @param startedAt when the plan was begun, by `performance.now()`
 */
async function measure(
  layers: FirstLayers,
  pair: TokenPair,
  {
    pairsPerPass,
    backend,
    startedAt,
  }: { readonly pairsPerPass: number; readonly backend: Backend; readonly startedAt: number },
): Promise<{ readonly shorter: Measurement | undefined; readonly longest: Measurement }> {
  const clock = stopwatch();
  const run = async (length: number): Promise<Measurement> => {
    const part = shortened(pair, length / tokensOf(pair));
    const round = await runRound(layers, new Array<TokenPair>(pairsPerPass).fill(part), backend);
    return { tokens: pairsPerPass * tokensOf(part), round };
  };
  await run(SHORT); // compiles code, and allocates the optimizer's state
  clock();
  let spent = (performance.now() - startedAt) / 1000;
  let length = Math.min(SHORT, tokensOf(pair));
  let shorter: Measurement | undefined;
  let longest = await run(length);
  let last = clock();
  for (spent += last; length < tokensOf(pair); spent += last) {
    const next = Math.min(GROWTH * length, tokensOf(pair));
    if (spent + (next / length) * last > LONGEST) break;
    [shorter, longest] = [longest, await run(next)];
    length = next;
    last = clock();
  }
  for (let repeated = 1; repeated < ROUNDS && spent + last <= LONGEST; repeated++, spent += last) {
    longest = fastest(longest, await run(length));
    last = clock();
  }
  return { shorter, longest };
}

const fastest = ({ tokens, round }: Measurement, other: Measurement): Measurement => ({
  tokens,
  round: Object.fromEntries(
    Object.entries(round).map(([part, seconds]) => [part, Math.min(seconds, other.round[part as keyof Round])]),
  ) as unknown as Round,
});

/** Seconds of passes through all of the loaded layers, through the first one, and of an update of all. */
interface Round {
  readonly forward: number;
  readonly backward: number;
  readonly firstForward: number;
  readonly firstBackward: number;
  readonly update: number;
}

async function runRound(
  { policy, first, optimizer }: FirstLayers,
  pairs: readonly TokenPair[],
  { computeNorm = gradientNorm }: Pick<Backend, 'computeNorm'>,
): Promise<Round> {
  const { parameters } = policy;
  const clock = stopwatch();
  const pass = async (of: GemmaPolicy) => {
    const forward = await of.forward(pairs, { train: true, step: 0 });
    const { logps } = await forward.terms();
    const forwardSeconds = clock();
    await forward.backward(new Float32Array(logps.length));
    forward.dispose();
    await computeNorm(of.parameters.slice(-1)); // waits for the backward pass
    return [forwardSeconds, clock()] as const;
  };
  try {
    const [firstForward, firstBackward] = await pass(first);
    const [forward, backward] = await pass(policy);
    await computeNorm(parameters);
    await optimizer.step({ parameters, learningRate: 0, gradientScale: 1 });
    await parameters.at(-1)!.value().data(); // waits for the update
    return { forward, backward, firstForward, firstBackward, update: clock() };
  } finally {
    for (const parameter of parameters) parameter.zeroGradient();
  }
}

/** Returns a function that returns the seconds since its last call. */
function stopwatch(): () => number {
  let last = performance.now();
  return () => {
    const [before, now] = [last, performance.now()];
    last = now;
    return (now - before) / 1000;
  };
}

/** The plan as JSON: null if the time was not measured. */
export const timeJson = (plan: TimePlan | undefined) =>
  plan === undefined
    ? null
    : {
        steps: plan.steps,
        seconds_per_step: plan.secondsPerStep,
        update_seconds: plan.updateSeconds,
        reference_seconds: plan.referenceSeconds,
        answers: plan.answers,
        calibration: plan.calibration,
      };

/** The plan as a text. */
export function formatTime(plan: TimePlan): string {
  const { steps, secondsPerStep, updateSeconds, referenceSeconds, answers, calibration } = plan;
  const { layers, tokens } = calibration;
  return [
    `A step takes about ${inSeconds(secondsPerStep)} (the update ${inSeconds(updateSeconds)}), and ` +
      `${counted(steps, 'step')} about ${formatDuration(steps * secondsPerStep)}.`,
    ...(referenceSeconds > 0
      ? [
          `Before them, the reference’s log-probs take about ${formatDuration(referenceSeconds)}, unless they are cached.`,
        ]
      : []),
    ...(answers.count > 0
      ? [
          `${counted(answers.count, 'answer')} to prompts (eval_prompts, report_samples) take about ` +
            `${inSeconds(answers.seconds)} in all if each has ${MAX_ANSWER} tokens.`,
        ]
      : []),
    `Measured in ${inSeconds(calibration.seconds)} with ${counted(layers, 'layer')} and ${counted(tokens, 'token')}. ` +
      'Evaluation and checkpoints are not counted.',
  ].join('\n');
}

const inSeconds = (n: number) => `${n < 10 ? n.toPrecision(2) : n.toFixed(0)} s`;
