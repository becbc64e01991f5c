import { mkdir, readdir, readFile, realpath, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type Gemma2Config, parseConfig, writeConfig } from '../config';
import type { WeightDtype } from '../dtype';
import { partialPath, syncFolder, writeDurably } from './durable';
import { type Checkpoint, openCheckpoint } from './read-checkpoint';
import { isCheckpointFile, type TensorValues, writeCheckpoint } from './write-checkpoint';

/** A model as Hugging Face folders hold it. */
export interface ModelFolder {
  readonly config: Gemma2Config;
  /** `config.json` as it is, with the keys that `config` leaves out. */
  readonly configJson: Readonly<Record<string, unknown>>;
  /** `generation_config.json`; undefined where there is none. */
  readonly generationConfig: Readonly<Record<string, unknown>> | undefined;
  /** The weights, open until its `close`. */
  readonly checkpoint: Checkpoint;
}

/** Files that go with a model from folder to folder as they are, where they are there. */
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
 * @throws Error naming file, key or tensor, what was found and wanted
 */
export async function readModelFolder(dir: string): Promise<ModelFolder> {
  const configPath = join(dir, 'config.json');
  const configJson = await readJsonObject(configPath);
  if (configJson === undefined) {
    throw new Error(
      `${dir}: holds no config.json; wanted a model's folder with config.json, tokenizer.json and ` +
        'model.safetensors or shards with their index. Is the path right?',
    );
  }
  return {
    config: parseConfig(configJson, configPath),
    configJson,
    generationConfig: await readJsonObject(join(dir, 'generation_config.json')),
    checkpoint: await openCheckpoint(dir),
  };
}

/**
 * Writes a model's folder as transformers loads it: `config.json`, `generation_config.json`, the tokenizer's files and
 * the weights.
 *
 * All of it is written beside the target (`.NAME.partial`) and renamed into place once it is whole and on the disk. A
 * folder already there stays until then; its files that are not a model's are kept. Between the two renames that replace
 * it, a crash leaves the old folder as `.NAME.replaced`; the next call puts things right.
 *
 * @param dir the folder to be; its parents are made
 * @param model.configJson the `config.json` that the model came from, whose other keys are kept
 * @param model.tensors asked for their values one at a time
 * @param model.dtype the type of all weights
 * @param model.copyFrom a model's folder whose tokenizer and `generation_config.json` are copied; may be `dir` itself
 * @param model.maxShardBytes see `writeCheckpoint`
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
  await mkdir(dirname(dir), { recursive: true });
  const target = await realPathOf(dir);
  await finishReplacing(target);
  if ((await exists(target)) && !(await stat(target)).isDirectory()) {
    throw new Error(`${dir}: is a file; wanted a folder, or nothing there yet.`);
  }
  const companions = copyFrom === undefined ? [] : await filesOf(copyFrom, (name) => COMPANIONS.includes(name));
  const partial = partialPath(target);
  await rm(partial, { recursive: true, force: true });
  await mkdir(partial);
  try {
    const write = (name: string, content: string | Uint8Array) =>
      writeDurably(join(partial, name), (file) => file.writeFile(content));
    await write('config.json', writeConfig(config, { dtype, extra: configJson }));
    await write('generation_config.json', generationConfigOf(config));
    for (const name of companions) await write(name, await readFile(join(copyFrom!, name)));
    const typed = Array.from(tensors, (t) => ({ name: t.name, shape: t.shape, dtype, data: () => t.data() }));
    await writeCheckpoint(partial, typed, { maxShardBytes });
    await syncFolder(partial);
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    throw error;
  }
  await replaceFolder(target, partial);
}

/** Where a replaced folder lies until its own files have been moved to the new one. */
const replacedPath = (target: string) => join(dirname(target), `.${basename(target)}.replaced`);

async function replaceFolder(target: string, partial: string): Promise<void> {
  try {
    if (await exists(target)) await rename(target, replacedPath(target));
    await rename(partial, target);
  } catch (error) {
    const reason = error instanceof Error ? error.message : error;
    throw new Error(
      `${target}: the model is written and whole in ${partial}, but could not be moved here (${reason}).`,
    );
  }
  await syncFolder(dirname(target));
  await finishReplacing(target);
}

/** Ends a replacement, this call's or one that was cut off: what lay beside the old model moves to the new, the old goes. */
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
  let json: unknown;
  try {
    json = JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    if (isMissing(error)) return undefined;
    if (error instanceof SyntaxError) throw new Error(`${path}: is not JSON (${error.message}); wanted a JSON object.`);
    throw error;
  }
  if (typeof json === 'object' && json !== null && !Array.isArray(json)) return json as Record<string, unknown>;
  throw new Error(`${path}: holds ${JSON.stringify(json).slice(0, 40)}; wanted a JSON object.`);
}

const filesOf = async (dir: string, wanted: (name: string) => boolean) => (await readdir(dir)).filter(wanted);

/** The folder that a link stands for, so that the folder is replaced and the link stays. */
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
