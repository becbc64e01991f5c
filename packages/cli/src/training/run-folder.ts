import { mkdir, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { MetricsRow } from '@wpo/trainer';
import { UserError } from '../errors';
import { lockPath, writeWholeFile } from '../files';
import { decidingValues } from '../schemas/schema';
import { type TrainConfig, trainSchema } from '../schemas/train';
import { configYaml, formatValue, parseConfig } from '../schemas/yaml-config';

/** The paths of a training run. Its checkpoints are `checkpoint-<step>` in `path`. */
export interface RunFolder {
  readonly path: string;
  readonly config: string;
  readonly metrics: string;
  readonly model: string;
  readonly reference: string;
}

export const runFolder = (path: string): RunFolder => ({
  path,
  config: join(path, 'config.yaml'),
  metrics: join(path, 'metrics.jsonl'),
  model: join(path, 'model'),
  reference: join(path, 'reference'),
});

/**
 * Finds out whether the folder has no run, an unfinished run, or a finished run.
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
  const finished = names.includes('model');
  if (!saved && !finished && (resume || !(await hasText(folder.metrics)))) return 'new';
  if (!resume) {
    throw new UserError(
      `${folder.path}: expected a folder without a run, found one. Add --resume to continue it, or set output_dir to another folder.`,
    );
  }
  const before = await readFile(folder.config, 'utf8').catch(() => null);
  if (before !== null) checkUnchanged(parseConfig(trainSchema, before, { file: folder.config }), config, folder);
  return finished ? 'finished' : 'unfinished';
}

function checkUnchanged(before: TrainConfig, now: TrainConfig, { path, config }: RunFolder): void {
  const [old, current] = [decidingValues(trainSchema, before), decidingValues(trainSchema, now)];
  const changed = Object.keys(current).filter((key) => !isDeepStrictEqual(old[key], current[key]));
  if (changed.length === 0) return;
  const text = (value: unknown) =>
    value === null ? 'not set' : Array.isArray(value) ? value.join(', ') : formatValue(value);
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
  await mkdir(path, { recursive: true });
  return lockPath(path, 'train');
}

/** Writes the folder's `config.yaml`, with absolute paths and all defaults. */
export async function writeConfig({ config: file }: RunFolder, config: TrainConfig): Promise<void> {
  await writeWholeFile(file, (append) => append(configYaml(trainSchema, config)));
}

/** Reads all rows of the run's metrics. */
export async function readMetrics({ metrics }: RunFolder): Promise<MetricsRow[]> {
  const lines = (await readFile(metrics, 'utf8')).split('\n').filter((line) => line !== '');
  return lines.map((line) => JSON.parse(line) as MetricsRow);
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
