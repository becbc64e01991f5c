import { existsSync, statSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { basename, dirname, extname, isAbsolute, join, relative, resolve } from 'node:path';
import { readRecords, readRows } from '@wpo/data/node';
import { readModelFolder } from '@wpo/gemma/node';
import { makeFolder } from '@wpo/internal/node/files';
import { explainWrites } from '@wpo/internal/node/write-errors';
import { preferencePairLoss } from '@wpo/trainer';
import { withLocalModels } from '../commands/train';
import { localModel, withDownloads } from '../downloads';
import { fromInput, UserError } from '../errors';
import { inspectRows } from '../inspect/measured-rows';
import { wpoCommand } from '../invocation';
import { loadBackend } from '../models';
import { type RunPairs, readRunPairs, SkippedRows } from '../pairs';
import type { InitConfig } from '../schemas/init';
import { lossOptions } from '../schemas/loss';
import { defaultsOf } from '../schemas/schema';
import { trainSchema } from '../schemas/train';
import { parseConfig, resolveLocation } from '../schemas/yaml-config';
import { counted } from '../terminal/format';
import type { Terminal } from '../terminal/terminal';
import { findFittingSettings } from '../training/fitting-settings';
import { type MachineMemory, plannedMachine } from '../training/machine-memory';
import { describeShortage } from '../training/memory-check';
import { formatReport, inGb, type MemoryReport, readable, reportMemory } from '../training/memory-report';
import { type Facts, limitOf, type MemorySettings, settingsFor, yamlOf } from './settings';

/** The options of `wpo init` with a model and data. */
type RunOptions = InitConfig & { readonly model: string; readonly data: string };

/**
 * Writes the YAML file of a training run, for a model and preference pairs, with settings that fit in memory. Returns the exit status.
 *
 * @throws {UserError} if the file exists, or the run cannot fit
 */
export async function initRun(options: RunOptions, terminal: Terminal): Promise<number> {
  const { model, data, out } = options;
  refuseExisting(out);
  const folder = await localModel(model, terminal);
  const context = await contextOf(folder);
  const facts = await inspectData(options, { folder, context }, terminal);
  const chosen = await chooseMemory(facts, options, terminal);
  const groups = settingsFor(facts, chosen.settings);
  await makeFolder(dirname(resolve(out)));
  await explainWrites(out, () => writeFile(out, yamlOf(headOf(options, chosen), groups), { flag: 'wx' }));
  const wpo = wpoCommand();
  const trained = chosen.settings.use_peft?.value === true ? 'a LoRA adapter of' : 'all weights of';
  terminal.stdout.write(
    `${out} trains ${trained} ${basename(model)} on ${counted(facts.report.pairs, 'pair')} of ${data}. ` +
      `It takes ${describeNeed(chosen)} at its peak.\n` +
      `Read it: each line says why it is so. Then\n  ${wpo} plan ${out}    # how long it takes\n  ${wpo} train ${out}\n`,
  );
  return 0;
}

function refuseExisting(out: string): void {
  if (/\.ya?ml$/i.test(out) && !existsSync(out)) return;
  if (!existsSync(out)) {
    throw new UserError(
      `--out: expected the path of a YAML file, which ends in .yaml, found ${out}. Write --out ${join(out, 'run.yaml')}`,
    );
  }
  const kind = statSync(out).isDirectory() ? 'the folder' : 'the file';
  const hint = kind === 'the folder' ? ` Write --out ${join(out, 'run.yaml')}` : ' Choose another name, or delete it.';
  throw new UserError(`--out: expected the path of a YAML file that does not exist, found ${kind} ${out}.${hint}`);
}

async function contextOf(folder: string): Promise<number> {
  const { config, checkpoint } = await fromInput(() => readModelFolder(folder));
  await checkpoint.close();
  return config.maxPositionEmbeddings;
}

/** Reads all pairs once. */
async function inspectData(
  { model, data, out, split, columns }: RunOptions,
  { folder, context }: { readonly folder: string; readonly context: number },
  terminal: Terminal,
): Promise<Facts> {
  const defaults = defaultsOf(trainSchema);
  const skipped = new SkippedRows(data);
  const maxLength = limitOf(context);
  const source = { ...defaults, ...{ file: data, split, columns, maxLength, systemRole: 'merge' as const, worst: 0 } };
  const maxPromptLength = trainSchema.fields.maxPromptLength.adapt!({ maxLength });
  const read = await fromInput(() =>
    withDownloads(terminal, async (hub) => ({
      report: await inspectRows({ ...source, ...hub, maxPromptLength }, folder, skipped),
      dataColumns: await firstColumns(data, { split, ...hub }),
      heldOutSplit:
        split === undefined && mayHaveSplits(data) ? await findHeldOut(data, { columns, ...hub }) : undefined,
    })),
  );
  if (read.report.pairs === 0) {
    skipped.warn(terminal);
    throw new UserError(`${data}: expected preference pairs, found none that can be used.`);
  }
  const here = dirname(resolve(out));
  return {
    ...read,
    ...{ context, split, columns, skippedRows: skipped.count },
    model: written(model, 'model', here),
    data: written(data, 'dataset', here),
    outputDir: join('runs', basename(out, extname(out))),
  };
}

type ReadOptions = NonNullable<Parameters<typeof readRows>[1]>;

async function firstColumns(data: string, options: ReadOptions): Promise<string[]> {
  for await (const { value } of readRecords(data, { ...options, onBadRow: 'skip' })) return Object.keys(Object(value));
  return [];
}

/** Whether data is a folder or a data set on the Hub. */
const mayHaveSplits = (data: string) =>
  existsSync(data) ? statSync(data).isDirectory() : resolveLocation('.', data, 'dataset').startsWith('hf://');

/** The first of these splits that has preference pairs. */
async function findHeldOut(data: string, options: ReadOptions): Promise<string | undefined> {
  for (const split of ['test_prefs', 'test', 'validation']) {
    try {
      for await (const _ of readRows(data, { ...options, split })) return split;
    } catch {
      options.signal?.throwIfAborted(); // any other error: there is no such split, or it has other rows
    }
  }
  return undefined;
}

/** A location as it is written into a file in another folder. An absolute path stays. */
function written(source: string, kind: 'model' | 'dataset', folder: string): string {
  const location = resolveLocation(process.cwd(), source, kind);
  if (location.startsWith('hf://') || isAbsolute(source)) return location;
  return relative(folder, location) || '.';
}

interface Chosen {
  readonly settings: MemorySettings;
  readonly report: MemoryReport;
  readonly machine: MachineMemory;
}

/** The first of these that fits in memory: all weights; on a GPU, those in bfloat16; an adapter; an adapter with other settings. */
async function chooseMemory(facts: Facts, options: RunOptions, terminal: Terminal): Promise<Chosen> {
  let pairs: RunPairs | undefined;
  const planned = async (settings: MemorySettings) => {
    const config = parseConfig(trainSchema, yamlOf([], settingsFor(facts, settings)), { file: options.out });
    const local = await withLocalModels(config, terminal);
    pairs ??= await readRunPairs(local, terminal);
    const backend = await loadBackend(local);
    const machine = plannedMachine(backend, options);
    const loss = preferencePairLoss(lossOptions(local));
    const run = { config: local, processes: 1, loss, pairs, storage: backend.storage };
    return { run, machine, report: await reportMemory(run, machine) };
  };
  const whole = await planned({});
  const need = describeNeed(whole);
  const machine = describeMachine(whole.machine);
  const all = { use_peft: { value: false, why: `all weights are trained, which takes ${need}; there are ${machine}` } };
  if (whole.report.fits) return { ...whole, settings: all };
  const tooMuch = `all weights in float32 would take ${need}, and there are ${machine}`;
  if (whole.machine.device !== undefined) {
    const narrow = await planned(NARROW);
    const [first, ...rest] = Object.entries(NARROW);
    const why = `${tooMuch}; the next lines are those of the published run`;
    const settings = {
      ...Object.fromEntries([[first![0], { value: first![1].value, why }]]),
      ...Object.fromEntries(rest),
    };
    if (narrow.report.fits) return { ...narrow, settings };
  }
  const lora: MemorySettings = { use_peft: { value: true, why: `a LoRA adapter: ${tooMuch}` }, ...ADAPTER };
  const adapter = await planned(lora);
  if (adapter.report.fits) return { ...adapter, settings: lora };
  const [smaller] = await findFittingSettings(adapter.run, adapter.machine);
  if (smaller === undefined) {
    throw new UserError(
      `No training of ${options.model} on ${options.data} fits in memory. With a LoRA adapter: ` +
        `${describeShortage(adapter.report, adapter.machine)}.\n${formatReport(adapter.report, adapter.machine, adapter.run.config)}\n` +
        'Use a smaller model, or plan for a machine with more memory: --host-memory 128GB, --device-memory 80GB.',
    );
  }
  const why = 'without it, the run does not fit in memory';
  const more = Object.fromEntries(Object.entries(smaller.settings).map(([key, value]) => [key, { value, why }]));
  return { ...adapter, report: { ...adapter.report, needed: smaller.needed }, settings: { ...lora, ...more } };
}

/** Weights in bfloat16 with the updates of float32 weights, and the optimizer's state in memory of the host. */
const NARROW: MemorySettings = {
  dtype: { value: 'bfloat16', why: 'number type of the weights in memory' },
  master_weights: { value: 'exact', why: 'the updates of float32 weights' },
  precision: { value: 'bfloat16', why: 'products and activations, as the authors computed' },
  offload_optimizer: { value: 'cpu', why: 'AdamW’s moments are in memory of the host' },
};

const ADAPTER: MemorySettings = {
  lora_target_modules: { value: 'all-linear', why: 'q, k, v and o of attention; gate, up and down of the MLP' },
  lora_r: { value: 16, why: 'TRL’s default' },
  lora_alpha: { value: 32, why: 'TRL’s default: the update is scaled by 2' },
};

function describeNeed({ report: { needed }, machine }: Pick<Chosen, 'report' | 'machine'>): string {
  if (machine.device === undefined) return `${inGb(needed.host)} GB`;
  return `${inGb(needed.device)} GB of the GPU and ${inGb(needed.host)} GB of the host`;
}

const describeMachine = ({ host, device }: MachineMemory): string =>
  [...(device ? [device] : []), host].map(({ bytes, whose }) => `${inGb(bytes)} GB (${whose})`).join(' and ');

/** The comment at the start of the file. */
function headOf({ model, data, out }: RunOptions, { report: { plan } }: Chosen): string[] {
  const schema = 'node_modules/@wpo/cli/schemas/train.schema.json';
  const hasSchema = existsSync(join(dirname(resolve(out)), schema));
  return [
    ...(hasSchema ? [`yaml-language-server: $schema=./${schema}`] : []),
    `WPO training of ${basename(model)} (${readable(plan.parameters)} parameters) on ${data}. Written by wpo init.`,
    '',
    `  wpo plan ${out}     what it takes in memory and time`,
    `  wpo train ${out}    trains; --resume continues after a stop`,
    '',
    'All keys: wpo train --help. Relative paths start from the folder of this file.',
    'The published run is the one that made wzhouad/gemma-2-9b-it-WPO-HB: arXiv 2406.11827.',
  ];
}
