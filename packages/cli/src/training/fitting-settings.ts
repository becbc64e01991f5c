import { trainsAdapter } from '../schemas/adapter';
import { yamlKey } from '../schemas/schema';
import type { TrainConfig } from '../schemas/train';
import { table } from '../terminal/format';
import type { MachineMemory } from './machine-memory';
import type { PlannedRun } from './memory-plan';
import { type FittingSettings, inGb, mayFit, reportMemory } from './memory-report';

/** Finds settings with which a run fits: at most three alternatives, those that change least first. */
export async function findFittingSettings(run: PlannedRun, machine: MachineMemory): Promise<FittingSettings[]> {
  const found: FittingSettings[] = [];
  const fitting: Change[] = [];
  for (const change of changesOf(run, machine.device !== undefined)) {
    if (fitting.some((smaller) => isPartOf(smaller, change))) continue;
    const other = { ...run, config: { ...run.config, ...change } };
    if (!(await mayFit(other, machine))) continue; // most changes end here, in a hundredth of the time
    const { needed, fits } = await reportMemory(cutTo(change.maxLength, other), machine);
    if (!fits) continue;
    fitting.push(change);
    const settings = Object.fromEntries(Object.entries(change).map(([field, value]) => [yamlKey(field), value]));
    found.push({ settings, needed });
    if (found.length === 3) break;
  }
  return found;
}

type Change = Partial<TrainConfig>;

const isPartOf = (smaller: Change, larger: Change) =>
  Object.entries(smaller).every(([field, value]) => larger[field as keyof Change] === value);

/** The longest prompt with its longer answer that `max_length` may be lowered to. */
const SHORTEST = 128;

/** Changes that make a run smaller: first each alone, then all of the model that is trained, its optimizer, then those of an adapter. */
function changesOf({ config, pairs }: PlannedRun, hasGpu: boolean): Change[] {
  const { perDeviceTrainBatchSize: batch, gradientAccumulationSteps: accumulation } = config;
  const longest = pairs.train.reduce((most, pair) => Math.max(most, sequenceLength(pair)), 0);
  const longestPair = pairs.train.reduce((most, pair) => Math.max(most, tokensOf(pair)), 0);
  const lengths: number[] = [];
  for (let length = 2 ** Math.floor(Math.log2(Math.max(1, longest - 1))); length >= SHORTEST; length /= 2) {
    lengths.push(length);
  }
  const each: Change[] = [
    ...(config.precomputeRefLogProbs ? [] : [{ precomputeRefLogProbs: true }]),
    ...(config.activationCheckpointing === 'always' ? [] : [{ activationCheckpointing: 'always' } as const]),
    ...(batch > 1 ? [{ perDeviceTrainBatchSize: 1, gradientAccumulationSteps: batch * accumulation }] : []),
    ...((config.maxTokensPerPack ?? 0) > longestPair ? [{ maxTokensPerPack: longestPair }] : []),
  ];
  const all = Object.assign({}, ...each) as Change;
  const shorter = lengths.map((maxLength) => ({ ...all, maxLength }));
  const moments: Change[] =
    config.optim === 'adamw_torch' && !trainsAdapter(config) ? [{ optim: 'adamw_bnb_8bit' }] : [];
  const narrow: Change[] =
    config.masterWeights === 'stochastic' || trainsAdapter(config)
      ? []
      : [{ ...all, ...moments[0], dtype: 'bfloat16', masterWeights: 'stochastic' }];
  const canOffload = hasGpu && !trainsAdapter(config);
  const hasMoments = !['adafactor', 'sgd'].includes(config.optim) && config.masterWeights !== 'stochastic';
  const state: Change[] =
    canOffload && hasMoments && config.offloadOptimizer === 'none' ? [{ offloadOptimizer: 'cpu' }] : [];
  const gradients: Change[] =
    canOffload && !config.optimizerInBwd && config.offloadGradients === 'none' ? [{ offloadGradients: 'cpu' }] : [];
  const offload = [...state, ...gradients, ...state.flatMap((one) => gradients.map((other) => ({ ...one, ...other })))];
  const inputs: Change[] =
    hasGpu && config.offloadActivations === 'none' ? [{ ...all, offloadActivations: 'cpu' }] : [];
  const inBackward: Change[] =
    config.optimizerInBwd || trainsAdapter(config)
      ? []
      : [
          {
            ...{ optimizerInBwd: true, maxGradNorm: 0 },
            ...(config.offloadGradients === 'none' ? {} : { offloadGradients: 'none' }),
          },
        ];
  const adapter: Change = trainsAdapter(config) ? { dtype: 'bfloat16' } : { usePeft: true };
  return [
    ...each,
    ...(each.length > 1 ? [all] : []),
    ...offload,
    ...inputs,
    ...(each.length > 0 ? offload.map((change) => ({ ...all, ...change })) : []),
    ...inputs.flatMap((one) => offload.map((change) => ({ ...one, ...change }))),
    ...shorter.slice(0, 1),
    ...moments,
    ...(each.length > 0 ? moments.map((change) => ({ ...all, ...change })) : []),
    ...narrow,
    ...inBackward.map((change) => ({ ...all, ...change })),
    ...inBackward.flatMap((change) => moments.map((moment) => ({ ...all, ...change, ...moment }))),
    ...inBackward.flatMap((change) => narrow.map((weights) => ({ ...weights, ...change }))),
    adapter,
    ...shorter.slice(1),
    ...(each.length > 0 ? [{ ...all, ...adapter }] : []),
    ...shorter.map((change) => ({ ...change, ...adapter })),
  ];
}

interface Tokens {
  readonly prompt: ArrayLike<number>;
  readonly chosen: ArrayLike<number>;
  readonly rejected: ArrayLike<number>;
}
const sequenceLength = ({ prompt, chosen, rejected }: Tokens) =>
  prompt.length + Math.max(chosen.length, rejected.length);
const tokensOf = ({ prompt, chosen, rejected }: Tokens) => prompt.length + chosen.length + rejected.length;

/** A run whose pairs are cut to a length, at the end of their answers, then of their prompts. */
function cutTo(maxLength: number | undefined, run: PlannedRun): PlannedRun {
  if (maxLength === undefined) return run;
  const train = run.pairs.train.map((pair) => {
    const prompt = pair.prompt.slice(0, Math.max(1, maxLength - 1));
    const most = maxLength - prompt.length;
    return { ...pair, prompt, chosen: pair.chosen.slice(0, most), rejected: pair.rejected.slice(0, most) };
  });
  return { ...run, pairs: { ...run.pairs, train } };
}

/** What to change, as text. */
export function formatFitting(fitting: readonly FittingSettings[], machine: MachineMemory): string {
  if (fitting.length === 0) return 'No setting makes this run fit: use a smaller model, or a machine with more memory.';
  const lines = fitting.map(({ settings, needed }): [string, string] => [
    Object.entries(settings)
      .map(([key, value]) => `${key}: ${value}`)
      .join(', '),
    `${inGb(machine.device ? needed.device : needed.host)} GB`,
  ]);
  return `Settings with which it fits:\n${table(lines)}`;
}
