import { UserError } from '../errors';
import { isCheckOff, MEMORY_CHECK, slowWeights } from '../memory';
import type { Backend } from '../models';
import { trainsAdapter } from '../schemas/adapter';
import { yamlKey } from '../schemas/schema';
import type { TrainConfig } from '../schemas/train';
import { count, table } from '../terminal/format';
import type { Terminal } from '../terminal/terminal';
import { leastMemory, type MemoryBytes, type MemoryPlan, type PlannedRun, planMemory } from './memory-plan';

/** The memory of a machine in bytes, what this process holds already included. */
export interface MachineMemory {
  readonly host: Place;
  /** The GPU that computes; undefined if the CPU does. */
  readonly device?: Place | undefined;
}

interface Place {
  readonly bytes: number;
  /** Whose memory it is, e.g. `of this machine`. */
  readonly whose: string;
  /** Whether it is address space, which mapped files take too. */
  readonly isAddressSpace?: boolean;
}

/** A part of a run's memory. */
export interface MemoryRow {
  readonly name:
    | 'weights'
    | 'reference'
    | 'gradients'
    | 'gradientParts'
    | 'state'
    | 'stateParts'
    | 'activations'
    | 'layerInputs'
    | 'layerInputParts'
    | 'logits'
    | 'unused'
    | 'mapped'
    | 'program';
  readonly where: 'host' | 'device';
  readonly bytes: number;
}

/** Bytes in the memory of the host, and of the GPU if there is one. */
export type ByPlace = Readonly<Record<'host' | 'device', number>>;

/** What a run takes, and whether it fits. */
export interface MemoryReport {
  readonly rows: readonly MemoryRow[];
  readonly needed: ByPlace;
  readonly fits: boolean;
  readonly plan: MemoryPlan;
}

/** What Node and TensorFlow take more once a step has run: measured with a model of 0.3M parameters (docs/memory.md). */
const FIRST_STEP = 40e6;

/** The packed operands of matrix products, which the native kernels keep (native/gemm/gemm.cc): 32 MB, and a strip for each thread. */
const PACKED_OPERANDS = 34e6;

/** Plans a run on a machine. */
export async function reportMemory(run: PlannedRun, machine: MachineMemory): Promise<MemoryReport> {
  const device = deviceOf(machine);
  const program = programBytes(device);
  const available = machine.device?.bytes ?? machine.host.bytes - program;
  const plan = await planMemory(run, { device, available });
  const rows = rowsOf(plan, machine, program);
  return { rows, ...sumsOf(rows, machine), plan };
}

/** Whether a run fits if its passes take nothing. */
async function mayFit(run: PlannedRun, machine: MachineMemory): Promise<boolean> {
  const device = deviceOf(machine);
  const rows = rowsOf(await leastMemory(run, device), machine, programBytes(device));
  return sumsOf(rows, machine).fits;
}

const deviceOf = ({ device }: MachineMemory) => (device ? 'gpu' : 'cpu');

/** Of this process without a model, once a step has run. */
const programBytes = (device: 'cpu' | 'gpu') =>
  process.memoryUsage.rss() + FIRST_STEP + (device === 'cpu' ? PACKED_OPERANDS : 0);

function rowsOf(plan: MemoryBytes, machine: MachineMemory, program: number): MemoryRow[] {
  const where = machine.device ? 'device' : 'host';
  const names = [
    'weights',
    'reference',
    'gradients',
    'gradientParts',
    'state',
    'stateParts',
    'activations',
    'layerInputs',
    'layerInputParts',
    'logits',
    'unused',
  ] as const;
  const isOnHost = { state: plan.stateParts > 0, gradients: plan.gradientParts > 0, layerInputs: true };
  const placeOf = (name: (typeof names)[number]) => (isOnHost[name as keyof typeof isOnHost] ? 'host' : where);
  return [
    ...names
      .filter((name) => plan[name] > 0)
      .map((name) => ({ name, where: placeOf(name), bytes: plan[name] }) as const),
    ...(machine.host.isAddressSpace && plan.mapped > 0
      ? [{ name: 'mapped', where: 'host', bytes: plan.mapped } as const]
      : []),
    { name: 'program', where: 'host', bytes: program },
  ];
}

function sumsOf(rows: readonly MemoryRow[], machine: MachineMemory): Pick<MemoryReport, 'needed' | 'fits'> {
  const neededIn = (place: MemoryRow['where']) =>
    rows.filter((row) => row.where === place).reduce((total, { bytes }) => total + bytes, 0);
  const needed = { host: neededIn('host'), device: neededIn('device') };
  return { needed, fits: needed.host <= machine.host.bytes && needed.device <= (machine.device?.bytes ?? 0) };
}

/** Settings with which a run fits, by their keys, and what it then takes. */
export interface FittingSettings {
  readonly settings: Readonly<Record<string, unknown>>;
  readonly needed: ByPlace;
}

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

/** The report as JSON. */
export const reportJson = (
  { rows, needed, fits, plan }: MemoryReport,
  machine: MachineMemory,
  fitting: readonly FittingSettings[],
) => ({
  parameters: plan.parameters,
  trained_parameters: plan.trained,
  longest_pass: {
    pairs: plan.longest.pairs,
    micro_batches: plan.longest.microBatches,
    tokens: plan.longest.tokens,
    answer_tokens: plan.longest.answerTokens,
  },
  memory: rows,
  needed,
  available: { host: machine.host.bytes, device: machine.device?.bytes ?? null },
  mapped_bytes: plan.mapped,
  fits,
  settings_that_fit: fitting,
});

/** The report as a table, in GB. */
export function formatReport(
  { rows, needed, plan }: MemoryReport,
  machine: MachineMemory,
  config: TrainConfig,
): string {
  const places = machine.device ? (['device', 'host'] as const) : (['host'] as const);
  const heads = { host: machine.device ? 'host, GB' : 'GB', device: 'GPU, GB' };
  const row = (name: string, bytes: Partial<ByPlace>) => [
    name,
    ...places.map((place) => (bytes[place] === undefined ? '' : inGb(bytes[place]))),
  ];
  const { longest } = plan;
  const trained = plan.trained === plan.parameters ? 'all' : readable(plan.trained);
  return [
    `${readable(plan.parameters)} parameters, ${trained} trained. ${
      longest.microBatches > 1
        ? `The ${longest.microBatches} longest micro-batches have`
        : 'The longest micro-batch has'
    } ${count(longest.tokens)} tokens, ` + `${count(longest.answerTokens)} of them in answers.`,
    '',
    table([
      ['at the peak', ...places.map((place) => heads[place])],
      ...rows.map(({ name, where, bytes }) => row(describeRow(name, config, plan), { [where]: bytes })),
      row('sum', needed),
      row('memory', { host: machine.host.bytes, device: machine.device?.bytes }),
    ]),
    ...(plan.mapped === 0 || machine.host.isAddressSpace
      ? []
      : [
          `  Not counted: ${inGb(plan.mapped)} GB of weights in mapped files, which the system reads as they are used.`,
        ]),
  ].join('\n');
}

function describeRow(name: MemoryRow['name'], config: TrainConfig, { trained, parameters }: MemoryPlan): string {
  switch (name) {
    case 'weights':
      if (trained !== parameters) return 'weights, and the adapter';
      return config.masterWeights ? `weights, bfloat16 (master_weights: ${config.masterWeights})` : 'weights, float32';
    case 'reference':
      return 'weights of the reference';
    case 'gradients':
      if (config.optimizerInBwd) return 'gradients, float32 (optimizer_in_bwd: true)';
      return config.offloadGradients === 'cpu' ? 'gradients, float32 (offload_gradients: cpu)' : 'gradients, float32';
    case 'gradientParts':
      return 'gradients that are on the GPU at once';
    case 'state':
      return `the optimizer’s state (optim: ${config.optim})`;
    case 'stateParts':
      return 'parts of it that are updated';
    case 'activations':
      return `activations (activation_checkpointing: ${config.activationCheckpointing})`;
    case 'layerInputs':
      return 'inputs of layers (offload_activations: cpu)';
    case 'layerInputParts':
      return 'inputs of layers that are on the GPU at once';
    case 'logits':
      return 'logits';
    case 'unused':
      return 'freed memory that TensorFlow keeps';
    case 'mapped':
      return 'weights in mapped files';
    case 'program':
      return 'Node, TensorFlow and the pairs';
  }
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

/**
 * Checks that a run fits in memory, before its models are read. Warns of weights in mapped files that do not fit beside it.
 *
 * @throws {UserError} with the table, and settings with which the run fits
 */
export async function checkRunMemory(
  run: PlannedRun,
  machine: MachineMemory | undefined,
  { stderr }: Terminal,
): Promise<void> {
  if (machine === undefined) return;
  const report = await reportMemory(run, machine);
  if (report.fits) {
    const { mapped } = report.plan;
    const left = machine.host.bytes - report.needed.host;
    if (mapped > left) stderr.write(`${slowWeights(run.config.modelNameOrPath, mapped, left)}\n`);
    return;
  }
  const shortage = `This run does not fit in memory: ${describeShortage(report, machine)}.`;
  if (isCheckOff()) {
    stderr.write(`${shortage} Continuing, because ${MEMORY_CHECK} is 0.\n`);
    return;
  }
  const fitting = await findFittingSettings(run, machine);
  throw new UserError(
    `${shortage}\n${formatReport(report, machine, run.config)}\n${formatFitting(fitting, machine)}\n${MEMORY_CHECK}=0 starts anyway.`,
  );
}

/** The memory that is too small, for a message. */
export function describeShortage({ needed }: MemoryReport, { host, device }: MachineMemory): string {
  const [need, place] = device && needed.device > device.bytes ? [needed.device, device] : [needed.host, host];
  return `expected ${inGb(need)} GB of memory, found ${inGb(place.bytes)} GB (${place.whose})`;
}

/** Bytes in GB, without the unit. */
export const inGb = (bytes: number) => (bytes / 1e9).toFixed(bytes < 1e8 ? 3 : bytes < 1e9 ? 2 : 1);

/** A number of parameters, for reading: `2.61 billion`. */
export const readable = (n: number) =>
  n < 1e8 ? `${(n / 1e6).toFixed(1)} million` : `${(n / 1e9).toFixed(2)} billion`;

/**
 * The memory that a training run may use.
 *
 * @param given sizes in bytes that replace those of this machine
 * @returns undefined if TensorFlow uses a GPU whose memory is not known
 */
export function machineMemory(
  { availableMemory, hostMemory }: Pick<Backend, 'availableMemory' | 'hostMemory'>,
  given: { readonly deviceMemory?: number | undefined; readonly hostMemory?: number | undefined } = {},
): MachineMemory | undefined {
  const onHost = hostMemory();
  const host =
    given.hostMemory === undefined
      ? {
          bytes: onHost.bytes + process.memoryUsage.rss(),
          whose: WHOSE[onHost.limit],
          isAddressSpace: onHost.limit === 'ulimit -v',
        }
      : { bytes: given.hostMemory, whose: '--host-memory' };
  if (given.deviceMemory !== undefined)
    return { host, device: { bytes: given.deviceMemory, whose: '--device-memory' } };
  const found = availableMemory();
  if (found === undefined) return undefined;
  return found.limit === 'GPU' ? { host, device: { bytes: found.bytes, whose: WHOSE.GPU } } : { host };
}

/** As `machineMemory`. @throws {UserError} if TensorFlow uses a GPU whose memory is not known */
export function plannedMachine(...of: Parameters<typeof machineMemory>): MachineMemory {
  const machine = machineMemory(...of);
  if (machine !== undefined) return machine;
  throw new UserError(
    'expected the memory of the GPU, found that nvidia-smi reports none. Give its size: --device-memory 80GB.',
  );
}

const WHOSE = {
  GPU: 'of the GPU',
  machine: 'of this machine',
  container: 'under the memory limit of this container',
  'ulimit -v': 'under `ulimit -v`',
  'ulimit -d': 'under `ulimit -d`',
} as const;
