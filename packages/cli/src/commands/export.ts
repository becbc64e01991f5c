import { existsSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { WEIGHT_DTYPES } from '@wpo/gemma';
import {
  ADAPTER_WEIGHTS,
  copyAdapterFolder,
  isAdapterFolder,
  readModelFolder,
  readTensors,
  storedTensor,
  writeModelFolder,
  writeTensors,
} from '@wpo/gemma/node';
import { makeFolder } from '@wpo/internal/node/files';
import type { StoredCheckpoint } from '@wpo/trainer';
import { fileCheckpoints } from '@wpo/trainer/node';
import { fromInput, UserError } from '../errors';
import { lockPath } from '../files';
import { withoutFailing } from '../report/write-report';
import { type ExportConfig, exportSchema } from '../schemas/export';
import { checkFlags } from '../schemas/flags';
import { processTerminal, type Terminal } from '../terminal/terminal';
import { type CardFiles, modelCard } from '../training/model-card';
import { configOf, runFolder } from '../training/run-folder';

/** `wpo export`: writes the model of a checkpoint. Returns the exit status. */
export async function exportModel(config: ExportConfig, terminal: Terminal = processTerminal()): Promise<number> {
  checkFlags(exportSchema, config);
  const { step, name: from } = await wholeCheckpoint(config, terminal);
  const out = config.out ?? join(config.run, `model-${step}`);
  await makeFolder(dirname(out));
  const release = await lockPath(dirname(out), 'export');
  try {
    await fromInput(async () => copyModel(from, out, config, await cardFiles(config.run, step, terminal)));
  } finally {
    release();
  }
  const what = (await isAdapterFolder(out)) ? 'adapter' : 'model';
  terminal.stdout.write(`The ${what} after step ${step} is in ${relative('', out) || out}\n`);
  return 0;
}

/**
 * The checkpoint that was asked for, else the newest one that is not damaged.
 *
 * @throws {UserError} if there is none, or the one asked for is damaged
 */
async function wholeCheckpoint({ run, checkpoint }: ExportConfig, { stderr }: Terminal): Promise<StoredCheckpoint> {
  const listed = (options: { readonly weightsFile?: string }) =>
    fromInput(() => fileCheckpoints(run, { readTensors, writeTensors, ...options }).list());
  const all = await listed({});
  const isAdapter = all.length > 0 && (await isAdapterFolder(all[0]!.name));
  const stored = isAdapter ? await listed({ weightsFile: ADAPTER_WEIGHTS }) : all;
  const steps = stored.map(({ step }) => step).join(', ');
  const candidates = stored.filter(({ step }) => checkpoint === undefined || step === checkpoint);
  if (candidates.length === 0) {
    throw new UserError(
      stored.length === 0
        ? `${run}: expected the folder of a run with checkpoints (checkpoint-STEP), found none. Give the run’s output_dir.`
        : `--checkpoint: expected a step of which ${run} has a checkpoint (${steps}), found ${checkpoint}.`,
    );
  }
  const damages: string[] = [];
  for (const candidate of candidates) {
    try {
      await candidate.open();
      if (damages.length > 0) stderr.write(`${damages.join('\n')}\nThe checkpoint before is exported.\n`);
      return candidate;
    } catch (error) {
      damages.push(`${candidate.name}: ${(error as Error).message}`);
    }
  }
  const others = checkpoint === undefined ? '' : ` The checkpoints of this run: ${steps}.`;
  throw new UserError(`expected a checkpoint that is not damaged, found:\n${damages.join('\n')}${others}`);
}

/** The model card of a checkpoint, if the run’s configuration and metrics are there. */
async function cardFiles(run: string, modelStep: number, terminal: Terminal): Promise<CardFiles> {
  const folder = runFolder(run);
  const config = await configOf(folder);
  if (config === undefined || !existsSync(folder.metrics)) return {};
  const source = { config, folder, baseFolder: config.modelNameOrPath, modelStep };
  return (await withoutFailing('the model card', terminal, () => modelCard(source))) ?? {};
}

/** Copies a model or an adapter tensor by tensor, in another number type. A model's `config.json` names the type of the run's model. */
async function copyModel(from: string, out: string, { run, dtype }: ExportConfig, files: CardFiles): Promise<void> {
  if (await isAdapterFolder(from)) {
    const type = dtype ?? (await configOf(runFolder(run)))?.saveDtype ?? 'float32';
    return copyAdapterFolder(from, out, { dtype: WEIGHT_DTYPES[type], files });
  }
  const { config, configJson, checkpoint } = await readModelFolder(from);
  try {
    const ofRun = (configJson.dtype ?? configJson.torch_dtype) === 'bfloat16' ? 'bfloat16' : 'float32';
    const tensors = checkpoint.names().map((name) => storedTensor(checkpoint, name));
    const model = { config, configJson, tensors, files, copyFrom: from };
    await writeModelFolder(out, { ...model, dtype: WEIGHT_DTYPES[dtype ?? ofRun] });
  } finally {
    await checkpoint.close();
  }
}
