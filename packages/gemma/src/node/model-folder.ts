import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe } from '@wpo/internal/describe';
import { isObject } from '@wpo/internal/json';
import { replaceFile } from '@wpo/internal/node/files';
import { readJsonFile } from '@wpo/internal/node/json-file';
import { parseConfig, stopIds, writeConfig } from '../config';
import type { WeightDtype } from '../dtype';
import type { Gemma2Config } from '../model';
import { checkModelFolder } from './not-a-model';
import { type Checkpoint, openCheckpoint } from './read-checkpoint';
import { replaceFolder } from './replace-folder';
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

const GENERATION_CONFIG = 'generation_config.json';

/** The tokenizer's files, which are copied with a model or an adapter, if present. */
export const TOKENIZER_FILES: readonly string[] = [
  'tokenizer.json',
  'tokenizer_config.json',
  'tokenizer.model',
  'special_tokens_map.json',
  'added_tokens.json',
  'chat_template.jinja',
  'chat_template.json',
];

/** Files that are copied with a model, if present. */
const COMPANIONS = [GENERATION_CONFIG, ...TOKENIZER_FILES];

const isModelFile = (name: string) => name === 'config.json' || COMPANIONS.includes(name) || isCheckpointFile(name);

/**
 * Opens a model's folder: reads `config.json` and `generation_config.json`, and checks the checkpoint's headers.
 *
 * @throws Error if a file is missing or invalid; names file, key or tensor
 */
export async function readModelFolder(dir: string): Promise<ModelFolder> {
  const [configPath, generationPath] = [join(dir, 'config.json'), join(dir, GENERATION_CONFIG)];
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
 * An existing folder stays until the new one is complete, see `replaceFolder`. Its files that are not part of a model move to the new
 * folder.
 *
 * @param dir created with its parents
 * @param model.configJson the `config.json` of the model that this one was made from: its other keys are kept
 * @param model.tensors their values are requested one at a time
 * @param model.dtype the type of all weights in the file
 * @param model.copyFrom a model's folder whose tokenizer and `generation_config.json` are copied; may be `dir` itself
 * @param model.files contents of more files by name, such as a tokenizer's that is in no folder
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
    readonly files?: Readonly<Record<string, string>>;
    readonly maxShardBytes?: number;
  },
): Promise<void> {
  const { config, configJson, tensors, dtype, copyFrom, files = {}, maxShardBytes } = model;
  await replaceFolder(dir, isModelFile, async (partial) => {
    await writeModelFiles(partial, { config, configJson, dtype, copyFrom });
    for (const [name, text] of Object.entries(files)) await replaceFile(join(partial, name), text);
    const typed = Array.from(tensors, (t) => ({ name: t.name, shape: t.shape, dtype, data: () => t.data() }));
    await writeCheckpoint(partial, typed, { maxShardBytes });
  });
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
  await replaceFile(join(dir, 'config.json'), writeConfig(config, { dtype, extra: configJson }));
  await replaceFile(join(dir, GENERATION_CONFIG), generationConfigOf(config));
  if (copyFrom !== undefined) await copyFiles(copyFrom, dir, COMPANIONS);
}

/** Copies those of the named files that are there. */
export async function copyFiles(from: string, to: string, names: readonly string[]): Promise<void> {
  const present = (await readdir(from)).filter((name) => names.includes(name));
  for (const name of present) await replaceFile(join(to, name), await readFile(join(from, name)));
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
