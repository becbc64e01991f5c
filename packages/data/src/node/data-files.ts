import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import picomatch from 'picomatch';
import { hubDataFiles } from '../hub/files';
import { dataSetName, type HubOptions } from '../hub/repository';
import { byCodePoint, chooseSplit, FORMATS, insteadOfData, isDataFile } from '../rows/splits';
import { listFiles } from './list-files';

/** A file of rows. */
export interface DataFile {
  readonly path: string;
  /** Names the file in rows and errors: the path as it was given, or its name on the hub. */
  readonly name: string;
}

export interface DataFileOptions extends HubOptions {
  /**
   * Which split of a folder or data set is read. A single name must exist. From a list, the first split that exists is
   * read; if none exists, the only split of the data set. Default `['train_prefs', 'train']`. If no file name contains a
   * split, all files are `train`.
   */
  readonly split?: string | readonly string[];
}

/**
 * The files that a source names, in an order that depends on their names only:
 *
 * - a file;
 * - a folder: the files of one split, in it and in its subfolders;
 * - a glob, `data/*.jsonl`: the files that match;
 * - `hf://datasets/org/name[@revision][/path or glob]`, or `org/name` if there is no local path of that name: a data set
 *   of the Hugging Face hub, downloaded into its cache.
 *
 * @throws {Error} if there are no such files, or it is unclear which split to read
 */
export async function dataFiles(source: string, options: DataFileOptions = {}): Promise<DataFile[]> {
  const name = dataSetName(source);
  if (name !== undefined) return hubDataFiles(name, options);
  if (!existsSync(source) && isDynamicPattern(source)) return matchingFiles(source);
  if (!existsSync(source) || !statSync(source).isDirectory()) return [{ path: source, name: source }];
  const chosen = chooseSplit(await listFiles(source), options.split);
  if ('fault' in chosen) throw new Error(`${source}: ${chosen.fault}.`);
  return chosen.files.map((file) => ({ path: join(source, file), name: join(source, file) }));
}

const isDynamicPattern = (text: string) => picomatch.scan(text).isGlob;

async function matchingFiles(pattern: string): Promise<DataFile[]> {
  const parts = pattern.split('/');
  const fixed = parts.findIndex((part) => isDynamicPattern(part)); // number of leading folders without wildcards
  const folder = parts.slice(0, fixed).join('/') || (pattern.startsWith('/') ? '/' : '.');
  const matches = picomatch(parts.slice(fixed).join('/'));
  const found = existsSync(folder) ? (await listFiles(folder)).filter((file) => matches(file)) : [];
  const files = found.filter(isDataFile).sort(byCodePoint);
  if (files.length === 0) {
    const instead = insteadOfData(found) ?? 'none. Check the pattern';
    throw new Error(`${pattern}: expected ${FORMATS} files that match, found ${instead}.`);
  }
  return files.map((file) => ({ path: join(folder, file), name: join(folder, file) }));
}
