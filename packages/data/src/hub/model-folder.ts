import { join } from 'node:path';
import { modelName } from './name';
import { HubError } from './request';
import { type HubOptions, openHub } from './settings';
import { fetchSnapshot } from './snapshot';

/** What a model's folder is read from: weights as safetensors, configs, tokenizer, chat template. */
const MODEL_FILE = /^[^/]+\.(safetensors|json|jinja|model|txt)$/;

/**
 * The folder of a model: a path as it is; of `hf://org/name[@revision]`, or `org/name` where no such folder is here, the
 * snapshot in the Hugging Face cache, fetched where it is not there yet.
 *
 * @throws {Error} where the model cannot be had
 */
export async function modelFolder(source: string, options: HubOptions = {}): Promise<string> {
  const name = modelName(source);
  if (name === undefined) return source;
  const hub = await openHub(name, options);
  const inside = name.path === '' ? '' : `${name.path}/`;
  const { folder } = await fetchSnapshot(hub, (paths) => {
    const files = paths.filter((path) => path.startsWith(inside) && MODEL_FILE.test(path.slice(inside.length)));
    if (files.some((path) => path.endsWith('.safetensors'))) return files;
    throw new HubError(`${hub.text}: found no .safetensors file there, wanted a model’s weights.`);
  });
  return join(folder, name.path);
}
