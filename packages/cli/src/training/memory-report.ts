import type { TrainConfig } from '../schemas/train';
import { count, table } from '../terminal/format';
import type { MachineMemory } from './machine-memory';
import { leastMemory, type MemoryBytes, type MemoryPlan, type PlannedRun, planMemory } from './memory-plan';

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

/** Settings with which a run fits, by their keys, and what it then takes. */
export interface FittingSettings {
  readonly settings: Readonly<Record<string, unknown>>;
  readonly needed: ByPlace;
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
export async function mayFit(run: PlannedRun, machine: MachineMemory): Promise<boolean> {
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

/** The settings that decide the optimizer's state. */
const stateSettings = ({ optim, sharding }: TrainConfig) =>
  sharding === 'none' ? `optim: ${optim}` : `optim: ${optim}, sharding: ${sharding}`;

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
      return `the optimizer’s state (${stateSettings(config)})`;
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

/** Bytes in GB, without the unit. */
export const inGb = (bytes: number) => (bytes / 1e9).toFixed(bytes < 1e8 ? 3 : bytes < 1e9 ? 2 : 1);

/** A number of parameters, for reading: `2.61 billion`. */
export const readable = (n: number) =>
  n < 1e8 ? `${(n / 1e6).toFixed(1)} million` : `${(n / 1e9).toFixed(2)} billion`;
