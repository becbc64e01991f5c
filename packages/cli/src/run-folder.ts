import { mkdir, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { MetricsRow } from '@wpo/trainer';
import { claim } from './claim';
import { UserError } from './errors';
import { decidingValues } from './schemas/schema';
import { type TrainConfig, trainSchema } from './schemas/train';
import { configYaml, parseConfig, show } from './schemas/yaml-config';
import { writeWholeFile } from './whole-file';

/** Where a run keeps what it makes. Its checkpoints are `checkpoint-<step>` in `path`. */
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
 * Says whether a run may begin in a folder, is to go on there, or has ended there.
 *
 * @throws {UserError} where a run is there that is not to be resumed, or was made by a config that gives other numbers
 */
export async function stateOf(
  folder: RunFolder,
  config: TrainConfig,
  resume: boolean,
): Promise<'new' | 'begun' | 'done'> {
  const names = await namesIn(folder.path);
  const saved = names.some((name) => /^checkpoint-\d+$/.test(name));
  const done = names.includes('model');
  if (!saved && !done && (resume || !(await hasText(folder.metrics)))) return 'new';
  if (!resume) {
    throw new UserError(
      `${folder.path}: holds a run already. Add --resume to go on with it, or set output_dir to another folder.`,
    );
  }
  const before = await readFile(folder.config, 'utf8').catch(() => null);
  if (before !== null) refuseChanges(parseConfig(trainSchema, before, { file: folder.config }), config, folder);
  return done ? 'done' : 'begun';
}

function refuseChanges(before: TrainConfig, now: TrainConfig, { path, config }: RunFolder): void {
  const [old, current] = [decidingValues(trainSchema, before), decidingValues(trainSchema, now)];
  const changed = Object.keys(current).filter((key) => !isDeepStrictEqual(old[key], current[key]));
  if (changed.length === 0) return;
  const text = (value: unknown) => (value === null ? 'not set' : Array.isArray(value) ? value.join(', ') : show(value));
  const changes = changed.map((key) => `${key} was ${text(old[key])} and is now ${text(current[key])}`);
  throw new UserError(
    `${path}: holds a run of another config: ${changes.join('; ')}. To resume it use ${config}; for a new run set ` +
      'output_dir to another folder.',
  );
}

/**
 * Makes the folder where there is none, and claims it for this process.
 *
 * @returns what releases it
 * @throws {UserError} where another process trains there
 */
export async function claimFolder({ path }: RunFolder): Promise<() => void> {
  await mkdir(path, { recursive: true });
  return claim(path, 'train');
}

/** Writes the folder's `config.yaml`, paths absolute and defaults filled in. */
export async function writeConfig({ config: file }: RunFolder, config: TrainConfig): Promise<void> {
  await writeWholeFile(file, (append) => append(configYaml(trainSchema, config)));
}

/** All rows of the run's metrics. */
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
      `${path}: found ${code === 'ENOTDIR' ? 'a file' : (error as Error).message}, wanted a folder for the run, or nothing there yet.`,
    );
  }
}

const hasText = async (path: string) => ((await stat(path).catch(() => null))?.size ?? 0) > 0;
