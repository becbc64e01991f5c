import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { filesBelow, syncFile, syncFolder } from '@wpo/internal/node/files';
import { hashFile } from '@wpo/internal/node/hash';
import type { Checkpoint, CheckpointStore, OpenCheckpoint, StoredCheckpoint, TrainerState } from '../checkpoint';
import { TrainingError } from '../errors';
import type { NamedTensor } from '../optimizer';

export interface FileCheckpointsOptions {
  /** Writes tensors to a file, in float32. */
  readonly writeTensors: (path: string, tensors: Iterable<NamedTensor>) => Promise<void>;
  /** Reads tensors. The caller disposes each of them. */
  readonly readTensors: (path: string) => AsyncIterable<NamedTensor>;
  /** Keeps this number of checkpoints, at least 1, and removes the oldest after a save. Default: keeps all. */
  readonly saveTotalLimit?: number;
}

const WEIGHTS = 'model.safetensors';
const OPTIMIZER = 'optimizer.safetensors';
const STATE = 'trainer_state.json';
const MANIFEST = 'manifest.json';

/** Size and SHA-256 of each other file of a checkpoint, by its path in the folder. */
type Manifest = Record<string, { readonly bytes: number; readonly sha256: string }>;

/**
 * Checkpoints as folders `checkpoint-<step>` in `folder`: weights, optimizer state, `trainer_state.json`, and a manifest with the
 * size and hash of each file. A checkpoint is written under a temporary name, synced and renamed, so a folder of that name is
 * complete. `open` checks the manifest, so later damage is found.
 *
 * @throws RangeError where `saveTotalLimit` is out of range.
 */
export function fileCheckpoints(folder: string, options: FileCheckpointsOptions): CheckpointStore {
  const { writeTensors, readTensors, saveTotalLimit } = options;
  if (saveTotalLimit !== undefined && !(Number.isInteger(saveTotalLimit) && saveTotalLimit >= 1)) {
    throw new RangeError(`save_total_limit: expected an integer of at least 1, found ${saveTotalLimit}`);
  }

  async function write(path: string, { state, weights, optimizer }: Checkpoint): Promise<void> {
    await mkdir(path, { recursive: true });
    await writeTensors(join(path, WEIGHTS), weights);
    await writeTensors(join(path, OPTIMIZER), optimizer);
    await writeFile(join(path, STATE), `${JSON.stringify(state, null, 2)}\n`);
    await writeFile(join(path, MANIFEST), `${JSON.stringify(await describe(path), null, 2)}\n`);
    for (const file of await filesBelow(path)) await syncFile(join(path, file));
    await syncFolder(path);
  }

  async function open(path: string): Promise<OpenCheckpoint> {
    await checkManifest(path);
    const state = JSON.parse(await readFile(join(path, STATE), 'utf8')) as TrainerState;
    if (state.version !== 1) throw new TrainingError(`${STATE}: expected version 1, found ${state.version}`);
    return {
      state,
      weights: () => readTensors(join(path, WEIGHTS)),
      optimizer: () => readTensors(join(path, OPTIMIZER)),
    };
  }

  return {
    async save(checkpoint) {
      const { step } = checkpoint.state;
      await mkdir(folder, { recursive: true });
      await removeLeftovers(folder);
      const final = join(folder, nameOf(step));
      const temporary = `${final}.tmp`;
      try {
        await write(temporary, checkpoint);
        // A checkpoint of this step or a later one exists only where it was skipped as damaged: it must not count as newer.
        for (const later of await stepsIn(folder)) if (later >= step) await setAside(join(folder, nameOf(later)));
        await rename(temporary, final);
      } catch (error) {
        await rm(temporary, { recursive: true, force: true });
        throw error;
      }
      await syncFolder(folder);
      if (saveTotalLimit === undefined) return;
      for (const old of surplus(await stepsIn(folder), [step, ...(checkpoint.keep ?? [])], saveTotalLimit)) {
        await remove(join(folder, nameOf(old)));
      }
    },
    async list(): Promise<StoredCheckpoint[]> {
      return (await stepsIn(folder)).map((step) => {
        const path = join(folder, nameOf(step));
        return { step, name: path, open: () => open(path) };
      });
    },
  };
}

const nameOf = (step: number) => `checkpoint-${step}`;

/** Steps of the checkpoints in a folder, newest first. */
async function stepsIn(folder: string): Promise<number[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  const steps = names.map((name) => /^checkpoint-(\d+)$/.exec(name)).filter((match) => match !== null);
  return steps.map((match) => Number(match[1])).sort((a, b) => b - a);
}

/**
 * The steps beyond the limit, of checkpoints sorted from new to old. Those of `keep` stay and count first, as in Hugging Face's
 * Trainer: with a limit of 1, the newest and the best checkpoint both stay.
 */
function surplus(steps: readonly number[], keep: readonly number[], limit: number): number[] {
  const kept = steps.filter((step) => keep.includes(step));
  return steps.filter((step) => !keep.includes(step)).slice(Math.max(0, limit - kept.length));
}

/** Removes the leftovers of a run that was killed while saving or removing. */
async function removeLeftovers(folder: string): Promise<void> {
  const names = (await readdir(folder)).filter((name) => /^checkpoint-\d+\.tmp$/.test(name));
  for (const name of names) await rm(join(folder, name), { recursive: true });
}

async function setAside(path: string): Promise<void> {
  await rm(`${path}.damaged`, { recursive: true, force: true });
  await rename(path, `${path}.damaged`);
}

/** Renames first, so that a kill leaves no part of a checkpoint under a checkpoint's name. */
async function remove(path: string): Promise<void> {
  await rename(path, `${path}.tmp`);
  await rm(`${path}.tmp`, { recursive: true });
}

async function describe(path: string): Promise<Manifest> {
  const manifest: Manifest = {};
  for (const file of await filesBelow(path)) {
    const { size } = await stat(join(path, file));
    manifest[file] = { bytes: size, sha256: await hashFile(join(path, file)) };
  }
  return manifest;
}

async function checkManifest(path: string): Promise<void> {
  const manifest = JSON.parse(await readFile(join(path, MANIFEST), 'utf8')) as Manifest;
  for (const [file, { bytes, sha256 }] of Object.entries(manifest)) {
    const { size } = await stat(join(path, file));
    if (size !== bytes) throw new TrainingError(`${file}: expected ${bytes} bytes, found ${size}`);
    const found = await hashFile(join(path, file));
    if (found !== sha256) throw new TrainingError(`${file}: expected SHA-256 ${sha256}, found ${found}: it is damaged`);
  }
  for (const file of [WEIGHTS, OPTIMIZER, STATE]) {
    if (!manifest[file]) throw new TrainingError(`${MANIFEST}: expected an entry for ${file}, found none`);
  }
}
