import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../install/command.mjs';
import { defaultCache, makePartial, moveInPlace } from '../install/runtime.mjs';
import { downloadWheel, findPip } from '../install/wheels.mjs';
import { unzip } from '../install/zip.mjs';

/**
 * Unpacks files of a PyPI package that a test needs into the user's cache folder, once. None of the package's Python code runs.
 *
 * @param name names the folder in the cache
 * @param version the exact version
 * @param place the path in the folder for a member of the wheel; undefined leaves the member out
 * @returns the folder, or the reason why it is missing
 */
export async function ensureWheelFiles(
  name: string,
  version: string,
  place: (member: string) => string | undefined,
): Promise<{ readonly folder: string } | { readonly missing: string }> {
  const cache = defaultCache();
  const target = join(cache, `${name}-${version}`);
  if (existsSync(target)) return { folder: target };
  const pip = findPip(run);
  if (!pip) return { missing: 'there is no pip' };
  mkdirSync(cache, { recursive: true });
  const partial = makePartial(cache, target);
  try {
    const wheel = downloadWheel(pip, `${name}==${version}`, partial);
    await unzip(wheel, place, partial);
    rmSync(wheel);
    moveInPlace(partial, target);
    return { folder: target };
  } catch (error) {
    return { missing: (error as Error).message };
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
}
