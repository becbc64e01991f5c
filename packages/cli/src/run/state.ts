import { readdir, readFile, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { seal, unseal } from '@wpo/internal/node/sealed';
import { hashFiles, hashJson } from '@wpo/trainer/node';
import * as v from 'valibot';
import { UserError } from '../errors';
import { writeWholeFile } from '../files';
import { STAGE_NAMES, type StageName } from '../schemas/run';
import type { PlannedStage } from './plan';

const record = v.object({
  /** Hashes of the settings and inputs with which the stage was started. */
  settings: v.string(),
  inputs: v.string(),
  /** Hash of its output; absent until the stage is finished. */
  outputs: v.exactOptional(v.string()),
});
const STATE_FILE = 'run.json';

const stateFile = v.object({ stages: v.partial(v.object(v.entriesFromList(STAGE_NAMES, record))) });

/** A stage's record in `run.json`. It has only hashes, and so no settings, addresses or API keys. */
export type StageRecord = v.InferOutput<typeof record>;

/** `run.json` of a run's folder. */
export interface RunState {
  get(stage: StageName): StageRecord | undefined;
  /** Replaces the stage's record in the file, or removes it. */
  set(stage: StageName, now: StageRecord | undefined): Promise<void>;
}

/** Reads the state of a run. Lock the folder first: another process may write the state. */
export async function openRunState(folder: string): Promise<RunState> {
  const path = join(folder, STATE_FILE);
  const records: { -readonly [stage in StageName]?: StageRecord | undefined } = { ...(await readState(path)) };
  return {
    get: (stage) => records[stage],
    async set(stage, now) {
      records[stage] = now;
      await writeWholeFile(path, (append) => append(`${seal(STATE_FILE, { stages: records }, 2)}\n`));
    },
  };
}

async function readState(path: string): Promise<Partial<Record<StageName, StageRecord>>> {
  const refuse = (found: string) =>
    new UserError(
      `${path}: expected the record of wpo run with its checksum, found ${found}. Remove it: stages whose output can be resumed ` +
        'continue, the others run again.',
    );
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return {};
    throw refuse(code === 'EISDIR' ? 'a folder' : message);
  }
  const result = v.safeParse(stateFile, unseal(STATE_FILE, text));
  if (!result.success) throw refuse('other or damaged text');
  return result.output.stages as Partial<Record<StageName, StageRecord>>;
}

/** The hashes of a stage's settings and inputs as they are now. */
export const recordOf = async ({ settings, inputs, servers }: PlannedStage): Promise<StageRecord> => ({
  settings: hashJson(JSON.parse(JSON.stringify(settings))),
  inputs: hashJson([await hashPaths(inputs), ...servers]),
});

/** One hash of the contents of files and folders, in this order. A name on the Hub or a missing path is hashed as text. */
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

/**
 * Renames a file or folder to a free name beside it: `answers.jsonl` to `answers.jsonl.before-1`.
 *
 * @returns the new path; undefined if there is no such file
 */
export async function moveAway(path: string): Promise<string | undefined> {
  if ((await stat(path).catch(() => null)) === null) return undefined;
  for (let n = 1; ; n++) {
    const target = `${path}.before-${n}`;
    if ((await stat(target).catch(() => null)) !== null) continue;
    await rename(path, target);
    return target;
  }
}
