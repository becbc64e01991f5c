import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { glob, isDynamicPattern } from 'tinyglobby';
import { hubDataFiles } from '../hub/data-set';
import { dataSetName } from '../hub/name';
import type { HubOptions } from '../hub/settings';
import { byCodePoint, chooseSplit, isDataFile } from '../rows/splits';

/** A file of rows. */
export interface DataFile {
  readonly path: string;
  /** What rows and errors call it: the path as it was given, or its name on the hub. */
  readonly name: string;
}

export interface DataFileOptions extends HubOptions {
  /**
   * Which split of a folder or a data set is read: one that must be there, or several, of which the first that is there
   * is taken, else the only one. Default `['train_prefs', 'train']`. Where no file names a split, all are `train`.
   */
  readonly split?: string | readonly string[];
}

/**
 * The files that a source stands for, in an order that their names alone decide:
 *
 * - a file;
 * - a folder: the files of one split, found in it and in the folders below it;
 * - a glob, `data/*.jsonl`: what it matches;
 * - `hf://datasets/org/name[@revision][/path or glob]`, or `org/name` where nothing of that name lies here: a data set of
 *   the Hugging Face hub, fetched into its cache.
 *
 * @throws {Error} where there are none, or no telling which
 */
export async function dataFiles(source: string, options: DataFileOptions = {}): Promise<DataFile[]> {
  const name = dataSetName(source);
  if (name !== undefined) return hubDataFiles(name, options);
  if (!existsSync(source) && isDynamicPattern(source)) return matching(source);
  if (!existsSync(source) || !statSync(source).isDirectory()) return [{ path: source, name: source }];
  const chosen = chooseSplit(await glob('**/*', { cwd: source }), options.split);
  if ('fault' in chosen) throw new Error(`${source}: ${chosen.fault}.`);
  return chosen.files.map((file) => ({ path: join(source, file), name: join(source, file) }));
}

async function matching(pattern: string): Promise<DataFile[]> {
  const parts = pattern.split('/');
  const fixed = parts.findIndex((part) => isDynamicPattern(part)); // folders in front that are no pattern
  const folder = parts.slice(0, fixed).join('/') || (pattern.startsWith('/') ? '/' : '.');
  const found = await glob(parts.slice(fixed).join('/'), { cwd: folder, expandDirectories: false });
  const files = found.filter(isDataFile).sort(byCodePoint);
  if (files.length === 0) throw new Error(`${pattern}: found no JSONL, JSON or Parquet file that it matches.`);
  return files.map((file) => ({ path: join(folder, file), name: join(folder, file) }));
}
