import { mkdir, readdir, readFile, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { hashFiles, hashJson } from '@wpo/trainer/node';
import * as v from 'valibot';
import { UserError } from './errors';
import { STAGES, type StageName } from './run-file';
import type { PlannedStage } from './run-plan';
import { writeWholeFile } from './whole-file';

const record = v.object({
  /** Hashes of what the stage was begun with. */
  settings: v.string(),
  inputs: v.string(),
  /** Hash of what it made; absent until it is finished. */
  outputs: v.exactOptional(v.string()),
});
const stateFile = v.object({ stages: v.partial(v.object(v.entriesFromList(STAGES, record))) });

/** What is known of a stage from before. It holds hashes alone: no setting, address or key. */
export type StageRecord = v.InferOutput<typeof record>;

/** `run.json` of a run's folder. */
export interface RunState {
  get(stage: StageName): StageRecord | undefined;
  /** Writes the file, whole, with this record, or without any of the stage. */
  set(stage: StageName, now: StageRecord | undefined): Promise<void>;
}

/** Reads the state of a run, and makes its folder where there is none. */
export async function openRunState(folder: string): Promise<RunState> {
  await mkdir(folder, { recursive: true });
  const path = join(folder, 'run.json');
  const records: { -readonly [stage in StageName]?: StageRecord | undefined } = { ...(await readState(path)) };
  return {
    get: (stage) => records[stage],
    async set(stage, now) {
      records[stage] = now;
      await writeWholeFile(path, (append) => append(`${JSON.stringify({ stages: records }, null, 2)}\n`));
    },
  };
}

async function readState(path: string): Promise<Partial<Record<StageName, StageRecord>>> {
  const text = await readFile(path, 'utf8').catch(() => '{"stages": {}}');
  try {
    return v.parse(stateFile, JSON.parse(text)).stages as Partial<Record<StageName, StageRecord>>;
  } catch {
    throw new UserError(`${path}: found no state of wpo run. Remove the file: what the stages have made is kept.`);
  }
}

/** What a stage would be begun with now. */
export const recordOf = async ({ settings, inputs, servers }: PlannedStage): Promise<StageRecord> => ({
  settings: hashJson(JSON.parse(JSON.stringify(settings))),
  inputs: hashJson([await hashPaths(inputs), ...servers]),
});

/** One hash of the contents of files and folders, in their order; a name on the hub, or nothing there, is its own. */
export async function hashPaths(paths: readonly string[]): Promise<string> {
  const parts: string[] = [];
  for (const path of paths) {
    const files = await filesIn(path);
    parts.push(files === null ? path : await hashFiles(files));
  }
  return hashJson(parts);
}

async function filesIn(path: string): Promise<string[] | null> {
  const found = await stat(path).catch(() => null);
  if (found === null) return null;
  if (found.isFile()) return [path];
  const entries = await readdir(path, { withFileTypes: true, recursive: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

/** Renames what is there to a name that is free beside it: `answers.jsonl` to `answers.jsonl.before-1`. */
export async function setAside(path: string): Promise<string | undefined> {
  if ((await stat(path).catch(() => null)) === null) return undefined;
  for (let n = 1; ; n++) {
    const target = `${path}.before-${n}`;
    if ((await stat(target).catch(() => null)) !== null) continue;
    await rename(path, target);
    return target;
  }
}
