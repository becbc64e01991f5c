import { readdir, readFile, realpath, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { describe } from '@wpo/internal/describe';
import { isObject } from '@wpo/internal/json';
import { makeFolder, replaceFile, syncFolder } from '@wpo/internal/node/files';
import { readJsonFile } from '@wpo/internal/node/json-file';
import { parseConfig, stopIds, writeConfig } from '../config';
import type { WeightDtype } from '../dtype';
import type { Gemma2Config } from '../model';
import { checkModelFolder } from './not-a-model';
import { type Checkpoint, openCheckpoint } from './read-checkpoint';
import { isCheckpointFile, type TensorValues, writeCheckpoint } from './write-checkpoint';

/** A model's folder in Hugging Face's layout. */
export interface ModelFolder {
  readonly config: Gemma2Config;
  /** The parsed `config.json`, with the keys that `config` leaves out. */
  readonly configJson: Readonly<Record<string, unknown>>;
  /** The parsed `generation_config.json`; undefined if there is none. */
  readonly generationConfig: Readonly<Record<string, unknown>> | undefined;
  /** Token ids that end an answer: those of `generation_config.json`, else of `config.json`. */
  readonly stopIds: readonly number[];
  /** The open weights. The caller closes them. */
  readonly checkpoint: Checkpoint;
}

/** Files that are copied with a model, if present. */
const COMPANIONS = [
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'tokenizer.model',
  'special_tokens_map.json',
  'added_tokens.json',
  'chat_template.jinja',
  'chat_template.json',
];

const isModelFile = (name: string) => name === 'config.json' || COMPANIONS.includes(name) || isCheckpointFile(name);

/**
 * Opens a model's folder: reads `config.json` and `generation_config.json`, and checks the checkpoint's headers.
 *
 * @throws Error if a file is missing or invalid; names file, key or tensor
 */
export async function readModelFolder(dir: string): Promise<ModelFolder> {
  const [configPath, generationPath] = [join(dir, 'config.json'), join(dir, 'generation_config.json')];
  const configJson = await readJsonObject(configPath);
  if (configJson === undefined) {
    await checkModelFolder(dir);
    throw new Error(`${configPath}: expected a file, found none or a link that leads nowhere. Download it again.`);
  }
  const config = parseConfig(configJson, configPath);
  const generationConfig = await readJsonObject(generationPath);
  const ids = stopIds(generationConfig ?? {}, config.vocabSize, generationPath) ?? [];
  const checkpoint = await openCheckpoint(dir);
  if (configJson.tie_word_embeddings === false && !checkpoint.has('lm_head.weight')) {
    await checkpoint.close();
    throw new Error(
      `${configPath}: tie_word_embeddings: expected true, found false without an lm_head.weight in the weights. Gemma-2 uses its ` +
        'embedding as the output projection: set it to true if this model does, too.',
    );
  }
  return { config, configJson, generationConfig, stopIds: ids.length > 0 ? ids : config.eosTokenId, checkpoint };
}

/**
 * Writes a model's folder that transformers can load: `config.json`, `generation_config.json`, the tokenizer's files and the
 * weights.
 *
 * Everything is written to `.NAME.partial` next to `dir`, which is renamed when it is complete and on the disk. An existing
 * folder stays until then. Its files that are not part of a model move to the new folder. A crash between the two renames leaves
 * the old folder as `.NAME.replaced`; the next call completes the replacement.
 *
 * @param dir created with its parents
 * @param model.configJson the `config.json` of the model that this one was made from: its other keys are kept
 * @param model.tensors their values are requested one at a time
 * @param model.dtype the type of all weights in the file
 * @param model.copyFrom a model's folder whose tokenizer and `generation_config.json` are copied; may be `dir` itself
 * @param model.maxShardBytes see `writeCheckpoint`
 * @throws Error if `dir` is a file, or writing fails; the old folder then stays
 */
export async function writeModelFolder(
  dir: string,
  model: {
    readonly config: Gemma2Config;
    readonly configJson?: Readonly<Record<string, unknown>>;
    readonly tensors: Iterable<TensorValues>;
    readonly dtype: WeightDtype;
    readonly copyFrom?: string;
    readonly maxShardBytes?: number;
  },
): Promise<void> {
  const { config, configJson, tensors, dtype, copyFrom, maxShardBytes } = model;
  await makeFolder(dirname(dir));
  const target = await realPathOf(dir);
  await finishReplacing(target);
  if ((await exists(target)) && !(await stat(target)).isDirectory()) {
    throw new Error(`${dir}: expected a folder or nothing, found a file.`);
  }
  const partial = partialPath(target);
  await rm(partial, { recursive: true, force: true });
  await makeFolder(partial);
  try {
    await writeModelFiles(partial, { config, configJson, dtype, copyFrom });
    const typed = Array.from(tensors, (t) => ({ name: t.name, shape: t.shape, dtype, data: () => t.data() }));
    await writeCheckpoint(partial, typed, { maxShardBytes });
    await syncFolder(partial);
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    throw error;
  }
  await replaceFolder(target, partial);
}

/**
 * Writes a model's files but its weights: `config.json`, `generation_config.json` and the tokenizer's files.
 *
 * @param dir an existing folder
 * @param model as for `writeModelFolder`; `dtype` is the type that `config.json` names
 */
export async function writeModelFiles(
  dir: string,
  model: {
    readonly config: Gemma2Config;
    readonly configJson?: Readonly<Record<string, unknown>>;
    readonly dtype: WeightDtype;
    readonly copyFrom?: string;
  },
): Promise<void> {
  const { config, configJson, dtype, copyFrom } = model;
  const companions = copyFrom === undefined ? [] : await filesOf(copyFrom, (name) => COMPANIONS.includes(name));
  const write = (name: string, content: string | Uint8Array) => replaceFile(join(dir, name), content);
  await write('config.json', writeConfig(config, { dtype, extra: configJson }));
  await write('generation_config.json', generationConfigOf(config));
  for (const name of companions) await write(name, await readFile(join(copyFrom!, name)));
}

/** Path of a new folder until it is complete. */
const partialPath = (target: string) => join(dirname(target), `.${basename(target)}.partial`);

/** Path of a replaced folder until its remaining files are moved to the new one. */
const replacedPath = (target: string) => join(dirname(target), `.${basename(target)}.replaced`);

async function replaceFolder(target: string, partial: string): Promise<void> {
  try {
    if (await exists(target)) await rename(target, replacedPath(target));
    await rename(partial, target);
  } catch (error) {
    const reason = error instanceof Error ? error.message : error;
    throw new Error(
      `${target}: the model could not be moved here (${reason}). Move it from ${partial}, where it is complete.`,
    );
  }
  await syncFolder(dirname(target));
  await finishReplacing(target);
}

/**
 * Completes a replacement, or one that a crash interrupted: moves the old folder's files that are not part of a model to the new
 * folder, and deletes the old folder.
 */
async function finishReplacing(target: string): Promise<void> {
  const replaced = replacedPath(target);
  if (!(await exists(replaced))) return;
  if (!(await exists(target))) return rename(replaced, target);
  const others = await filesOf(replaced, (name) => !isModelFile(name));
  const present = new Set(await readdir(target));
  for (const name of others) if (!present.has(name)) await rename(join(replaced, name), join(target, name));
  await rm(replaced, { recursive: true });
  await syncFolder(dirname(target));
}

const generationConfigOf = (config: Gemma2Config) => {
  const { bosTokenId, eosTokenId, padTokenId } = config;
  const eos = eosTokenId.length > 1 ? eosTokenId : (eosTokenId[0] ?? null);
  const json = { _from_model_config: true, bos_token_id: bosTokenId, eos_token_id: eos, pad_token_id: padTokenId };
  return `${JSON.stringify(json, null, 2)}\n`;
};

async function readJsonObject(path: string): Promise<Record<string, unknown> | undefined> {
  const expected = 'a JSON object';
  const json = await readJsonFile(path, { expected, hint: 'Download the file again, or repair it.' });
  if (json === undefined || isObject(json)) return json;
  throw new Error(`${path}: expected ${expected}, found ${describe(json)}.`);
}

const filesOf = async (dir: string, select: (name: string) => boolean) => (await readdir(dir)).filter(select);

/** Resolves a symbolic link, so that the folder is replaced and the link stays. */
async function realPathOf(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if (isMissing(error)) return join(await realpath(dirname(path)), basename(path));
    throw error;
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await realpath(path);
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

const isMissing = (error: unknown) => error instanceof Error && 'code' in error && error.code === 'ENOENT';
