import { readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { filesBelow, makeFolder, syncFile, syncFolder } from '@wpo/internal/node/files';
import { hashFile } from '@wpo/internal/node/hash';
import { seal, unseal } from '@wpo/internal/node/sealed';
import { explainWrites, formatBytes, requireFreeSpace } from '@wpo/internal/node/write-errors';
import type { Checkpoint, CheckpointStore, OpenCheckpoint, StoredCheckpoint } from '../checkpoint';
import { TrainingError } from '../errors';
import { type SavedTensor, savedBytes } from '../values';
import { formatTrainerState, parseTrainerState } from './trainer-state';

export interface FileCheckpointsOptions {
  /** Writes tensors to a file, in their types. */
  readonly writeTensors: (path: string, tensors: Iterable<SavedTensor>) => Promise<void>;
  /** Opens a file's tensors. Each can be read until the next one is requested. */
  readonly readTensors: (path: string) => AsyncIterable<SavedTensor>;
  /** Writes more files into a checkpoint's folder, e.g. the model's configuration and tokenizer. */
  readonly writeModelFiles?: (folder: string) => Promise<void>;
  /** Name of the file of the policy's weights in a checkpoint's folder. Default `model.safetensors`. */
  readonly weightsFile?: string;
  /** Keeps this number of checkpoints, at least 1, and removes the oldest after a save. Default: keeps all. */
  readonly saveTotalLimit?: number;
}

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
  const { writeTensors, readTensors, writeModelFiles, weightsFile = 'model.safetensors', saveTotalLimit } = options;
  if (saveTotalLimit !== undefined && !(Number.isInteger(saveTotalLimit) && saveTotalLimit >= 1)) {
    throw new RangeError(`save_total_limit: expected an integer of at least 1, found ${saveTotalLimit}`);
  }

  async function write(path: string, { state, weights, optimizer, keep = [] }: Checkpoint): Promise<void> {
    const tensors = { weights: [...weights], optimizer: [...optimizer] };
    await requireFreeSpace(folder, bytesOf(Object.values(tensors).flat()), await describeRemovable(folder, keep));
    await makeFolder(path);
    await writeModelFiles?.(path);
    await writeTensors(join(path, weightsFile), tensors.weights);
    await writeTensors(join(path, OPTIMIZER), tensors.optimizer);
    await writeFile(join(path, STATE), formatTrainerState(state));
    await writeFile(join(path, MANIFEST), `${seal(MANIFEST, await describe(path), 2)}\n`);
    for (const file of await filesBelow(path)) await syncFile(join(path, file));
    await syncFolder(path);
  }

  async function open(path: string, step: number): Promise<OpenCheckpoint> {
    await checkManifest(path, weightsFile);
    const state = await readAs(path, STATE, parseTrainerState);
    if (state.step !== step) throw new TrainingError(`${STATE}: step: expected ${step}, found ${state.step}`);
    return {
      state,
      weights: () => readTensors(join(path, weightsFile)),
      optimizer: () => readTensors(join(path, OPTIMIZER)),
    };
  }

  return {
    async save(checkpoint) {
      const { step } = checkpoint.state;
      await makeFolder(folder);
      const final = join(folder, nameOf(step));
      const temporary = `${final}.tmp`;
      await explainWrites(final, async () => {
        await removeLeftovers(folder);
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
        const keep = [step, ...(checkpoint.keep ?? [])];
        for (const old of surplus(await stepsIn(folder), keep, saveTotalLimit ?? Number.POSITIVE_INFINITY)) {
          await remove(join(folder, nameOf(old)));
        }
      });
    },

    async list(): Promise<StoredCheckpoint[]> {
      return (await stepsIn(folder)).map((step) => {
        const path = join(folder, nameOf(step));
        return { step, name: path, open: () => open(path, step) };
      });
    },
  };
}

const bytesOf = (tensors: readonly SavedTensor[]) => tensors.reduce((total, tensor) => total + savedBytes(tensor), 0);

/** Says which folders may be deleted to make room: all checkpoints but the newest and those in `keep`. */
async function describeRemovable(folder: string, keep: readonly number[]): Promise<string> {
  const names = (await readdir(folder)).filter((name) => /^checkpoint-\d+(\.damaged)?$/.test(name));
  const [newest] = await stepsIn(folder);
  const needed = [newest, ...keep].map((step) => `checkpoint-${step}`);
  const sized = names
    .filter((name) => !needed.includes(name))
    .map(async (name) => `${join(folder, name)} (${formatBytes(await sizeOf(join(folder, name)))})`);
  const old = sized.length === 0 ? '' : `, e.g. ${(await Promise.all(sized)).join(', ')}`;
  return `Delete what is no longer needed${old}, and resume the run.`;
}

async function sizeOf(path: string): Promise<number> {
  const sizes = (await filesBelow(path)).map(async (file) => (await stat(join(path, file))).size);
  return (await Promise.all(sizes)).reduce((total, size) => total + size, 0);
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

async function checkManifest(path: string, weightsFile: string): Promise<void> {
  const manifest = await readAs(path, MANIFEST, (text) => {
    const found = unseal(MANIFEST, text);
    if (found) return found as Manifest;
    throw new TrainingError('expected the text that its checksum belongs to, found other text: it is damaged');
  });
  for (const [file, { bytes, sha256 }] of Object.entries(manifest)) {
    const found = await stat(join(path, file)).catch(() => null);
    if (!found?.isFile())
      throw new TrainingError(`${file}: expected a file, found ${found ? 'something else' : 'no such file'}`);
    if (found.size !== bytes) throw new TrainingError(`${file}: expected ${bytes} bytes, found ${found.size}`);
    const hash = await hashFile(join(path, file));
    if (hash !== sha256) throw new TrainingError(`${file}: expected SHA-256 ${sha256}, found ${hash}: it is damaged`);
  }
  for (const file of [weightsFile, OPTIMIZER, STATE]) {
    if (!manifest[file]) throw new TrainingError(`${MANIFEST}: expected an entry for ${file}, found none`);
  }
}

/** Reads a file of a checkpoint. @throws TrainingError that starts with the file's name. */
async function readAs<T>(path: string, file: string, parse: (text: string) => T): Promise<T> {
  const text = await readFile(join(path, file), 'utf8').catch(({ code, message }: NodeJS.ErrnoException) => {
    const found = { ENOENT: 'no such file', EISDIR: 'a folder', ENOTDIR: `that ${basename(path)} is a file` }[
      code ?? ''
    ];
    throw new TrainingError(`${file}: expected a file, found ${found ?? message}`);
  });
  try {
    return parse(text);
  } catch (error) {
    throw error instanceof TrainingError ? new TrainingError(`${file}: ${error.message}`) : error;
  }
}
