import { join } from 'node:path';
import picomatch from 'picomatch';
import { chooseSplit } from '../rows/splits';
import { type HubName, hubNameText } from './name';
import { HubError } from './request';
import { type HubOptions, openHub } from './settings';
import { fetchSnapshot } from './snapshot';

/**
 * The files of a data set on the hub, fetched into the cache: those that its path matches as a file or glob, else one
 * split of what lies in the folder that it names.
 *
 * @throws {Error} where there are none, or they cannot be had
 */
export async function hubDataFiles(
  name: HubName,
  options: HubOptions & { readonly split?: string | readonly string[] },
): Promise<{ path: string; name: string }[]> {
  const hub = await openHub(name, options);
  const { folder, files } = await fetchSnapshot(hub, (paths) => {
    const chosen = choose(paths, name.path, options.split);
    if ('fault' in chosen) throw new HubError(`${hub.text}: ${chosen.fault}.`);
    return chosen.files;
  });
  return files.map((file) => ({ path: join(folder, file), name: hubNameText({ ...name, path: file }) }));
}

function choose(paths: readonly string[], path: string, split?: string | readonly string[]) {
  if (path === '') return chooseSplit(paths, split);
  const inside = paths.filter((file) => file.startsWith(`${path}/`));
  if (inside.length > 0) return chooseSplit(inside, split);
  const matches = picomatch(path);
  const files = paths.filter((file) => file === path || matches(file)).sort();
  return files.length > 0 ? { files } : { fault: `found nothing in the data set that is, or matches, ${path}` };
}
