import { access, stat } from 'node:fs/promises';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { describe } from '@wpo/internal/describe';
import { isObject } from '@wpo/internal/json';
import { replaceFile } from '@wpo/internal/node/files';
import { readJsonFile } from '@wpo/internal/node/json-file';
import { printable } from '@wpo/internal/printable';
import {
  type AdaptedModule,
  adaptedModules,
  adapterTensors,
  type LoraConfig,
  parseLoraConfig,
  writeLoraConfig,
} from '../adapter/lora-config';
import type { WeightDtype } from '../dtype';
import { checkWeight } from '../finite';
import type { Gemma2Config } from '../model';
import { copyFiles, TOKENIZER_FILES } from './model-folder';
import { type Checkpoint, openSafetensors } from './read-checkpoint';
import { replaceFolder } from './replace-folder';
import { storedTensor } from './stored-tensor';
import { type TensorValues, writeSafetensors } from './write-checkpoint';

/** PEFT's names of an adapter's files. */
export const ADAPTER_CONFIG = 'adapter_config.json';
export const ADAPTER_WEIGHTS = 'adapter_model.safetensors';

/** A LoRA adapter's folder in PEFT's format. */
export interface AdapterFolder {
  readonly config: LoraConfig;
  /** The model that the adapter was made for, as the file names it. */
  readonly baseModel: string | undefined;
  /** The adapted layers, in checkpoint order. */
  readonly modules: readonly AdaptedModule[];
  /** The open weights, under the names of `adapterTensors`. The caller closes them. */
  readonly checkpoint: Checkpoint;
}

/** Whether a path is the folder of an adapter. */
export const isAdapterFolder = (dir: string): Promise<boolean> => exists(join(dir, ADAPTER_CONFIG));

/**
 * Checks that a path is the folder of an adapter. Nothing is read but the names of its files.
 *
 * @throws Error that says what the path is instead, and what to give
 */
export async function checkAdapterFolder(dir: string): Promise<void> {
  if (!(await isAdapterFolder(dir))) throw new Error(await describeMissing(dir));
  if (await exists(join(dir, ADAPTER_WEIGHTS))) return;
  const pickle = (await exists(join(dir, 'adapter_model.bin'))) ? 'only adapter_model.bin, a pickle file' : 'none';
  throw new Error(
    `${printable(dir)}: expected ${ADAPTER_WEIGHTS} beside ${ADAPTER_CONFIG}, found ${pickle}. Download it, or save the adapter ` +
      'with a current PEFT.',
  );
}

/**
 * Opens an adapter's folder, and checks its configuration and the names and shapes of its tensors.
 *
 * @param model the configuration of the base model
 * @throws Error if the folder has no adapter, one that is not supported, or one of another model; names file, key or tensor
 */
export async function readAdapterFolder(dir: string, model: Gemma2Config): Promise<AdapterFolder> {
  const { config, baseModel } = await readConfig(dir);
  const modules = adaptedModules(config, model, `${join(dir, ADAPTER_CONFIG)}: target_modules`);
  const checkpoint = await openSafetensors(join(dir, ADAPTER_WEIGHTS));
  try {
    checkTensors(checkpoint, config, modules);
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
  return { config, modules, checkpoint, baseModel };
}

async function readConfig(dir: string) {
  await checkAdapterFolder(dir);
  const path = join(dir, ADAPTER_CONFIG);
  const expected = 'the settings of an adapter';
  const json = await readJsonFile(path, { expected, hint: 'Download the file again, or repair it.' });
  const config = parseLoraConfig(json, path);
  const text = (key: string) => {
    const value = isObject(json) ? json[key] : undefined;
    return typeof value === 'string' && value !== '' ? value : undefined;
  };
  return { config, baseModel: text('base_model_name_or_path'), baseRevision: text('revision') };
}

async function describeMissing(dir: string): Promise<string> {
  const expected = `expected an adapter's folder in PEFT's format (${ADAPTER_CONFIG}, ${ADAPTER_WEIGHTS})`;
  const found = (text: string) => `${printable(dir)}: ${expected}, found ${text}`;
  if (!(await exists(dir))) return found('nothing: there is no such folder. Check the path.');
  if (!(await stat(dir)).isDirectory()) return found('a file. Give the folder that it is in.');
  if (await exists(join(dir, 'model', ADAPTER_CONFIG))) {
    return found(`a folder that has the adapter in it. Give ${printable(join(dir, 'model'))}`);
  }
  if (await exists(join(dir, 'config.json'))) {
    return found('a whole model. Give it as the model, without an adapter.');
  }
  return found(`no ${ADAPTER_CONFIG}. Check the path.`);
}

/**
 * Reads an adapter's tensors.
 *
 * @returns by name; the caller owns them
 * @throws ModelError if a value is NaN or infinite
 */
export async function readAdapterTensors({ checkpoint }: AdapterFolder): Promise<Map<string, tf.Tensor>> {
  const tensors = new Map<string, tf.Tensor>();
  try {
    for (const name of checkpoint.names()) {
      const tensor = tf.tensor(await checkpoint.read(name), [...checkpoint.info(name).shape], 'float32');
      tensors.set(name, tensor);
      await checkWeight(name, tensor, checkpoint.where);
    }
  } catch (error) {
    tf.dispose([...tensors.values()]);
    throw error;
  }
  return tensors;
}

function checkTensors(checkpoint: Checkpoint, config: LoraConfig, modules: readonly AdaptedModule[]): void {
  const tensors = new Map(adapterTensors(modules, config).map(({ name, shape }) => [name, shape]));
  const found = checkpoint.names();
  const missing = [...tensors.keys()].filter((name) => !checkpoint.has(name));
  const unexpected = found.filter((name) => !tensors.has(name));
  const misshapen = [...tensors].flatMap(([name, shape]) => {
    if (!checkpoint.has(name)) return [];
    const has = checkpoint.info(name).shape;
    return String(has) === String(shape) ? [] : [`${name} (expected ${describe(shape)}, found ${describe(has)})`];
  });
  const problems = [
    ...(missing.length > 0 ? [`missing ${listed(missing)}`] : []),
    ...(unexpected.length > 0 ? [`unexpected ${listed(unexpected)}`] : []),
    ...(misshapen.length > 0 ? [`of another shape ${listed(misshapen)}`] : []),
  ];
  if (problems.length === 0) return;
  const other = misshapen.length > 0 && misshapen.length * 2 >= tensors.size;
  throw new Error(
    `${checkpoint.where}: expected the ${tensors.size} tensors that ${ADAPTER_CONFIG} and the base model ask for, found: ` +
      `${problems.join('; ')}. ${other ? 'The adapter belongs to another base model.' : 'Check that both files are from one save and that the base model is the right one.'}`,
  );
}

/**
 * Writes an adapter's folder that PEFT can load. An existing folder stays until the new one is complete; its other files move to it.
 *
 * @param dir created with its parents
 * @param adapter.baseModel the name or path of the model that the adapter belongs to
 * @param adapter.tensors under the names of `adapterTensors`; their values are requested one at a time
 * @param adapter.copyFrom a model's folder whose tokenizer is copied
 * @throws Error if `dir` is a file, or writing fails; the old folder then stays
 */
export async function writeAdapterFolder(
  dir: string,
  adapter: AdapterFiles & { readonly tensors: Iterable<TensorValues>; readonly dtype: WeightDtype },
): Promise<void> {
  const { tensors, dtype } = adapter;
  await replaceFolder(dir, isAdapterFile, async (partial) => {
    await writeAdapterFiles(partial, adapter);
    const typed = Array.from(tensors, (t) => ({ name: t.name, shape: t.shape, dtype, data: () => t.data() }));
    await writeSafetensors(join(partial, ADAPTER_WEIGHTS), typed);
  });
}

/** Copies an adapter's folder without its other files, such as the optimizer's state of a checkpoint, in another number type. */
export async function copyAdapterFolder(
  from: string,
  to: string,
  { dtype, files }: { readonly dtype: WeightDtype; readonly files?: Readonly<Record<string, string>> },
): Promise<void> {
  const { config, baseModel = '', baseRevision } = await readConfig(from);
  const checkpoint = await openSafetensors(join(from, ADAPTER_WEIGHTS));
  try {
    const tensors = checkpoint.names().map((name) => storedTensor(checkpoint, name));
    await writeAdapterFolder(to, { config, baseModel, baseRevision, tensors, dtype, files, copyFrom: from });
  } finally {
    await checkpoint.close();
  }
}

export interface AdapterFiles {
  readonly config: LoraConfig;
  readonly baseModel: string;
  /** The base model’s revision on the Hub, if it is not `main`. */
  readonly baseRevision?: string | undefined;
  readonly copyFrom?: string;
  /** Contents of more files by name, such as a model card. */
  readonly files?: Readonly<Record<string, string>>;
}

/** Writes an adapter's files but its weights, to an existing folder. */
export async function writeAdapterFiles(
  dir: string,
  { config, baseModel, baseRevision, copyFrom, files = {} }: AdapterFiles,
): Promise<void> {
  await replaceFile(join(dir, ADAPTER_CONFIG), writeLoraConfig(config, baseModel, baseRevision));
  if (copyFrom !== undefined) await copyFiles(copyFrom, dir, TOKENIZER_FILES);
  for (const [name, text] of Object.entries(files)) await replaceFile(join(dir, name), text);
}

const isAdapterFile = (name: string) =>
  name === ADAPTER_CONFIG || name === ADAPTER_WEIGHTS || TOKENIZER_FILES.includes(name);

const exists = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  );

const listed = (names: readonly string[]) =>
  names
    .slice(0, 6)
    .map((name) => printable(name, 200))
    .join(', ') + (names.length > 6 ? ` and ${names.length - 6} more` : '');
