import { readdir, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * All files in a folder and its subfolders that are not hidden: paths relative to the folder, with `/`. Symbolic links are
 * followed, except those that lead to a folder above.
 */
export async function listFiles(folder: string, above: readonly string[] = []): Promise<string[]> {
  const real = await realpath(folder);
  if (above.includes(real)) return [];
  const found: string[] = [];
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.name.startsWith('.')) continue;
    const path = join(folder, entry.name);
    const target = entry.isSymbolicLink() ? await stat(path).catch(() => undefined) : entry; // undefined: leads nowhere
    if (target?.isFile()) found.push(entry.name);
    if (target?.isDirectory()) {
      for (const file of await listFiles(path, [...above, real])) found.push(`${entry.name}/${file}`);
    }
  }
  return found;
}
