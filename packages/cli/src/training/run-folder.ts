import { existsSync } from 'node:fs';
import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { makeFolder } from '@wpo/internal/node/files';
import { completeLines } from '@wpo/internal/node/jsonl';
import type { MetricsRow } from '@wpo/trainer';
import { UserError } from '../errors';
import { lockPath, writeWholeFile } from '../files';
import { trainsAdapter } from '../schemas/adapter';
import { decidingValues, yamlKey } from '../schemas/schema';
import { batchesPerStep, type TrainConfig, trainSchema } from '../schemas/train';
import { configYaml, formatValue, parseConfig } from '../schemas/yaml-config';

/** The paths of a training run. Its checkpoints are `checkpoint-<step>` in `path`. */
export interface RunFolder {
  readonly path: string;
  readonly config: string;
  readonly metrics: string;
  /** The weight, margin, lengths and sources of each pair of each step. */
  readonly pairs: string;
  readonly model: string;
  /** The page about the run. */
  readonly report: string;
  /** The folder of what only the report reads. */
  readonly reportData: string;
  /** Event files for TensorBoard. */
  readonly tensorboard: string;
  readonly reference: string;
  /** Why `stop_on_collapse` ended the run. Other runs do not have this file. */
  readonly collapse: string;
  /** A file that exists while a finished run is extended: its `model` is not yet the model of the longer run. */
  readonly extending: string;
}

export const runFolder = (path: string): RunFolder => ({
  path,
  config: join(path, 'config.yaml'),
  metrics: join(path, 'metrics.jsonl'),
  pairs: join(path, 'pairs.jsonl'),
  model: join(path, 'model'),
  report: join(path, 'report.html'),
  reportData: join(path, 'report'),
  tensorboard: join(path, 'tensorboard'),
  reference: join(path, 'reference'),
  collapse: join(path, 'collapse.txt'),
  extending: join(path, '.extending'),
});

/**
 * Finds out whether the folder has no run, an unfinished run, or a finished run. A finished run counts as unfinished if its number
 * of steps was changed.
 *
 * @throws {UserError} if the folder has a run and `resume` is false, or if the configuration of that run gives other results
 */
export async function stateOf(
  folder: RunFolder,
  config: TrainConfig,
  resume: boolean,
): Promise<'new' | 'unfinished' | 'finished'> {
  const names = await namesIn(folder.path);
  const saved = names.some((name) => /^checkpoint-\d+$/.test(name));
  const extending = saved && names.includes(basename(folder.extending));
  const finished = names.includes('model') && !extending;
  if (!saved && !finished && (resume || !(await hasText(folder.metrics)))) return 'new';
  if (!resume) {
    throw new UserError(
      `${folder.path}: expected a folder without a run, found one. Add --resume to continue it, or set output_dir to another folder.`,
    );
  }
  const before = await configOf(folder);
  if (before !== undefined) checkUnchanged(before, config, folder);
  const extended = before !== undefined && LENGTH.some((name) => before[name] !== config[name]);
  if (!finished || !extended) return finished ? 'finished' : 'unfinished';
  if (saved) return 'unfinished';
  throw new UserError(
    `${folder.path}: expected a checkpoint from which the finished run can be extended, found none. Train from its ` +
      `${trainsAdapter(config) ? 'adapter' : 'model'} in a new output_dir: ` +
      `${trainsAdapter(config) ? 'adapter' : 'model'}_name_or_path: ${folder.model}`,
  );
}

/** The configuration with which the run was last started; undefined if the file is gone. */
export async function configOf({ config: file }: RunFolder): Promise<TrainConfig | undefined> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    throw new UserError(
      `${file}: expected the configuration of the run, found ${code === 'EISDIR' ? 'a folder' : message}. Move it away.`,
    );
  }
  return parseConfig(trainSchema, text, { file });
}

/** The keys that decide the number of steps. A run may be extended; `train` refuses to shorten it. */
const LENGTH = ['maxSteps', 'numTrainEpochs'] as const;

function checkUnchanged(before: TrainConfig, now: TrainConfig, { path, config }: RunFolder): void {
  const [old, current] = [decidingValues(trainSchema, before), decidingValues(trainSchema, now)];
  const mayChange = [
    ...LENGTH.map(yamlKey),
    ...(now.learningRate < before.learningRate ? ['learning_rate'] : []),
    ...(batchesPerStep(now) === batchesPerStep(before) ? ['gradient_accumulation_steps', 'num_processes'] : []),
  ];
  const changed = Object.keys(current).filter(
    (key) => !mayChange.includes(key) && !isDeepStrictEqual(old[key], current[key]),
  );
  if (changed.length === 0) return;
  const text = (value: unknown) => (value === null ? 'not set' : formatValue(value));
  const changes = changed.map((key) => `${key} was ${text(old[key])} and is now ${text(current[key])}`);
  throw new UserError(
    `${path}: expected the configuration of the run in this folder, found changes: ${changes.join('; ')}. To resume the ` +
      `run use ${config}; for a new run set output_dir to another folder.`,
  );
}

/**
 * Creates the folder if it does not exist, and locks it.
 *
 * @returns a function that releases the lock
 * @throws {UserError} if another process trains there
 */
export async function lockFolder({ path }: RunFolder): Promise<() => void> {
  await makeFolder(path);
  return lockPath(path, 'train');
}

/** Writes the folder's `config.yaml`, with absolute paths and all defaults, and marks a model that is there as that of a shorter run. */
export async function writeConfig({ config: file, model, extending }: RunFolder, config: TrainConfig): Promise<void> {
  if (existsSync(model)) await writeWholeFile(extending, async () => {});
  await writeWholeFile(file, (append) => append(configYaml(trainSchema, config)));
}

/** Records why the run ended early: the step and reason of a collapse, or null for a run that did not end so. */
export async function writeCollapse({ collapse: file }: RunFolder, reason: string | null): Promise<void> {
  if (reason === null) await rm(file, { force: true });
  else await writeWholeFile(file, (append) => append(`${reason}\n`));
}

/** Why `stop_on_collapse` ended the run; null if it did not. */
export async function readCollapse({ collapse: file }: RunFolder): Promise<string | null> {
  try {
    return (await readFile(file, 'utf8')).trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

/** Reads all rows of the run's metrics. */
export async function readMetrics({ metrics }: RunFolder): Promise<MetricsRow[]> {
  const lines = completeLines(await readFile(metrics, 'utf8'));
  return lines.map((line, i) => {
    try {
      return JSON.parse(line) as MetricsRow;
    } catch {
      throw new UserError(
        `${metrics}:${i + 1}: expected a metrics row, found other text. Is another program writing here?`,
      );
    }
  });
}

async function namesIn(path: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return [];
    throw new UserError(
      `${path}: expected a folder for the run, or a path that does not exist, found ${code === 'ENOTDIR' ? 'a file' : (error as Error).message}.`,
    );
  }
}

const hasText = async (path: string) => ((await stat(path).catch(() => null))?.size ?? 0) > 0;
