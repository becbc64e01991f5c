import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { homeHint } from '@wpo/internal/home-path';
import { isObject } from '@wpo/internal/json';
import { readJsonFile } from '@wpo/internal/node/json-file';
import { printable } from '@wpo/internal/printable';
import { INDEX_FILE, WEIGHTS_FILE } from './file-io';

// What people give as a model that is none: what it is, and what to do. Each text completes "expected a model's folder, found …".

/**
 * Checks that a path is a folder with `config.json` and weights in safetensors. Nothing is read but the names of its files.
 *
 * @throws Error that says what the path is instead, and what to give
 */
export async function checkModelFolder(path: string): Promise<void> {
  const found = await findProblem(path);
  if (found === undefined) return;
  throw new Error(`${printable(path)}: expected a model's folder in Hugging Face's layout, found ${found}`);
}

async function findProblem(path: string): Promise<string | undefined> {
  const kind = await kindOf(path);
  if (kind === 'nothing') return `nothing: there is no such folder. ${hintForPath(path)}`;
  if (kind === 'file') return describeFile(path);
  const names = (await readdir(path)).sort();
  const has = (name: string) => names.includes(name);
  const hasWeights = has(WEIGHTS_FILE) || has(INDEX_FILE);
  if (has('config.json') && hasWeights) return undefined;
  return (
    (await describeAdapter(path, names)) ??
    describeOtherFormat(path, names) ??
    (await describeParent(path, names)) ??
    describeIncomplete(names, hasWeights)
  );
}

function hintForPath(path: string): string {
  const home = homeHint(path);
  if (home !== undefined) return home;
  if (/^\w[\w.-]*$/.test(path)) return 'Check the path. A name on the Hugging Face Hub has two parts, org/name.';
  return 'Check the path.';
}

async function kindOf(path: string): Promise<'folder' | 'file' | 'nothing'> {
  try {
    return (await stat(path)).isDirectory() ? 'folder' : 'file';
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    if (/^(ENOENT|ENOTDIR|ENAMETOOLONG|ELOOP|ERR_INVALID_ARG_VALUE)$/.test(code)) return 'nothing';
    throw new Error(`${printable(path)}: expected a model's folder, found one that cannot be read (${code}).`);
  }
}

const GGUF = /\.(gguf|ggml)$/i;
const PICKLE = /(^pytorch_model.*\.bin|\.(pt|pth|ckpt)|\.distcp)$/i;
const OTHER_FRAMEWORK = /^(tf_model\.h5|flax_model.*\.msgpack|model\.onnx)$/i;

const SAVE = 'save_pretrained("NEW_FOLDER")';

function describeFile(path: string): string {
  const [name, folder] = [printable(basename(path)), printable(dirname(path))];
  const other = describeOtherFormat(dirname(path), [basename(path)]);
  if (other !== undefined) return other;
  if (/\.(safetensors|json)$/i.test(path)) return `the file ${name}. Give the folder it is in: ${folder}`;
  return `the file ${name}. Give a folder with config.json, the weights in safetensors and tokenizer.json.`;
}

async function describeAdapter(path: string, names: readonly string[]): Promise<string | undefined> {
  if (!names.includes('adapter_config.json')) return undefined;
  const config = await readJsonFile(join(path, 'adapter_config.json')).catch(() => undefined);
  const base = isObject(config) ? config.base_model_name_or_path : undefined;
  const model = typeof base === 'string' && base !== '' ? printable(base, 200) : 'its base model';
  return (
    `an adapter (LoRA) of ${model}, without the model. Give ${model} as the model, and ${printable(path)} as its adapter ` +
    '(--adapter, or adapter_name_or_path for training). Or merge them into a model: `wpo merge`.'
  );
}

function describeOtherFormat(path: string, names: readonly string[]): string | undefined {
  const load = 'transformers.AutoModelForCausalLM.from_pretrained';
  const find = (pattern: RegExp) => names.find((name) => pattern.test(name));
  const gguf = find(GGUF);
  if (gguf !== undefined) {
    return (
      `a GGUF file, ${printable(gguf)}, which llama.cpp reads. Give the original model's folder, or convert it with Python: ` +
      `${load}("${printable(path)}", gguf_file="${printable(gguf)}").${SAVE}; save the tokenizer there too.`
    );
  }
  const pickle = find(PICKLE);
  const other = pickle ?? find(OTHER_FRAMEWORK);
  if (other === undefined) return undefined;
  const format = pickle === undefined ? 'weights of another framework' : 'PyTorch weights in a pickle file';
  return (
    `${format}, ${printable(other)}. Weights are read from safetensors only: save the model with Python, ` +
    `${load}("${printable(path)}").${SAVE}; save the tokenizer there too.`
  );
}

/** A folder that has models in it: a run's folder, a repository in the Hub's cache, or any other. */
async function describeParent(path: string, names: readonly string[]): Promise<string | undefined> {
  const isModel = async (name: string) => (await kindOf(join(path, name, 'config.json'))) === 'file';
  const inModel = await readdir(join(path, 'model')).catch(() => []);
  const adapter = await describeAdapter(join(path, 'model'), inModel);
  if (adapter !== undefined) return `a folder that has in it ${adapter}`;
  if (await isModel('model')) return `a folder that has the model in it. Give ${printable(join(path, 'model'))}`;
  if (names.includes('snapshots')) {
    const commits = await readdir(join(path, 'snapshots')).catch(() => []);
    if (commits.length > 0) {
      return `a repository of the Hub's cache. Give a snapshot: ${printable(join(path, 'snapshots', commits[0]!))}`;
    }
  }
  const checkpoints = names.filter((name) => /^checkpoint-\d+$/.test(name));
  if (checkpoints.length > 0) {
    const newest = checkpoints.sort((a, b) => Number(b.slice(11)) - Number(a.slice(11)))[0]!;
    return `a run's folder without a finished model. Give a checkpoint: ${printable(join(path, newest))}`;
  }
  const models: string[] = [];
  for (const name of names.slice(0, 100)) if (await isModel(name)) models.push(name);
  if (models.length === 0) return undefined;
  return `a folder of ${models.length === 1 ? 'a model' : 'models'}. Give ${listed(models.map((name) => join(path, name)))}`;
}

function describeIncomplete(names: readonly string[], hasWeights: boolean): string {
  if (names.length === 0) return 'an empty folder. Check the path.';
  const shards = names.filter((name) => name.endsWith('.safetensors'));
  if (shards.length > 0 && !hasWeights) {
    return `weights named ${listed(shards)} without ${INDEX_FILE}. Download the index, or rename a file with all weights to ${WEIGHTS_FILE}.`;
  }
  if (names.includes('config.json')) {
    return `no ${WEIGHTS_FILE} or ${INDEX_FILE} beside config.json. Download the weights, or save the model with save_pretrained.`;
  }
  if (hasWeights) return 'weights without config.json. Copy config.json from the model that the weights belong to.';
  return `no config.json among its files: ${listed(names)}. Check the path.`;
}

const listed = (names: readonly string[]) =>
  names
    .slice(0, 5)
    .map((name) => printable(name, 200))
    .join(', ') + (names.length > 5 ? ` and ${names.length - 5} more` : '');
