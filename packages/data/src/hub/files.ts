// Which files of a repository a data set or a model needs.
import { join } from 'node:path';
import picomatch from 'picomatch';
import { chooseSplit } from '../rows/splits';
import { type HubName, type HubOptions, hubNameText, modelName, openHub } from './repository';
import { hubError } from './request';
import { fetchSnapshot } from './snapshot';

/**
 * Downloads files of a data set on the hub into the cache: one split of the folder that the path names, or the files that
 * match the path as a name or glob.
 *
 * @throws {Error} if there are none, or they cannot be downloaded
 */
export async function hubDataFiles(
  name: HubName,
  options: HubOptions & { readonly split?: string | readonly string[] },
): Promise<{ path: string; name: string }[]> {
  const hub = await openHub(name, options);
  const { folder, files } = await fetchSnapshot(hub, (paths) => {
    const chosen = chooseFiles(paths, name.path, options.split);
    if ('fault' in chosen) throw hubError(hub, `${chosen.fault}.`);
    return chosen.files;
  });
  return files.map((file) => ({ path: join(folder, file), name: hubNameText({ ...name, path: file }) }));
}

function chooseFiles(paths: readonly string[], path: string, split?: string | readonly string[]) {
  if (path === '') return chooseSplit(paths, split);
  const inside = paths.filter((file) => file.startsWith(`${path}/`));
  if (inside.length > 0) return chooseSplit(inside, split);
  const matches = picomatch(path);
  const files = paths.filter((file) => file === path || matches(file)).sort();
  return files.length > 0
    ? { files }
    : { fault: `expected files that match ${path} in the data set, found none. Check the path` };
}

/** The files that a model is loaded from: weights as safetensors, configurations, tokenizer, chat template. */
export const MODEL_FILE = /^[^/]+\.(safetensors|json|jinja|model|txt)$/;

/**
 * The folder of a model. A path is returned unchanged. For `hf://org/name[@revision]`, or `org/name` if there is no such
 * local folder, it is the snapshot in the Hugging Face cache, which is downloaded if needed.
 *
 * @throws {Error} if the model cannot be downloaded
 */
export async function modelFolder(source: string, options: HubOptions = {}): Promise<string> {
  const name = modelName(source);
  if (name === undefined) return source;
  const hub = await openHub(name, options);
  const inside = name.path === '' ? '' : `${name.path}/`;
  const { folder } = await fetchSnapshot(hub, (paths) => {
    const files = paths.filter((path) => path.startsWith(inside) && MODEL_FILE.test(path.slice(inside.length)));
    if (files.some((path) => path.endsWith('.safetensors'))) return files;
    throw hubError(hub, `expected the weights of a model in safetensors, found ${otherWeights(paths)}`);
  });
  return join(folder, name.path);
}

/** What a repository without weights in safetensors has, and what to do. */
function otherWeights(paths: readonly string[]): string {
  const has = (pattern: RegExp) => paths.some((path) => pattern.test(path));
  if (has(/\.gguf$/i)) return 'GGUF files, which llama.cpp reads. Use the model that they were made from.';
  if (has(/\.(bin|pt|pth)$/i)) {
    return 'PyTorch files. Save the model in safetensors with transformers: from_pretrained(…).save_pretrained(FOLDER).';
  }
  return 'no .safetensors file. Use another model.';
}
