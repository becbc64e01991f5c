import { otherTables } from './other-kinds';

/** The formats of files with rows, as messages name them. */
export const FORMATS = 'JSONL, JSON, CSV, TSV, Parquet or Arrow';

const DATA = /\.(jsonl|ndjson|json|csv|tsv|tab|parquet|arrow)(\.(gz|zst))?$/i;
const TABLE = /\.(csv|tsv|tab)(\.(gz|zst))?$/i;
/** Files without rows, among them those of `save_to_disk` and of the cache of Python's datasets. */
const METADATA = /^(dataset_infos?|dataset_dict|state|config|tokenizer.*)\.json$|^(cache|indices|tmp)-?.*\.arrow$|^\./;
const SHARD = /-(\d{5})-of-(\d{5})/;
const SPLIT = /(^|[-_.])(train|training|test|testing|eval|evaluation|validation|valid|val|dev)([-_.]|$)/i;

/** Whether a file of a data set holds rows, judged by its name. */
export const isDataFile = (path: string) => DATA.test(path) && !METADATA.test(basename(path));

/** Whether a file is read as CSV or TSV, judged by its name. */
export const isTable = (path: string) => TABLE.test(path);

/**
 * The split that a file of a data set belongs to: `train_prefs` for `data/train_prefs-00000-of-00001.parquet`, `train`
 * for `helpful-base/train.jsonl.gz` and for `default/train/0000.parquet`. Undefined if the name contains no split.
 */
export function splitOf(path: string): string | undefined {
  const stem = basename(path)
    .replace(DATA, '')
    .replace(/-\d{5}-of-\d{5}.*$/, '')
    .replace(/[-_]\d+$/, '');
  // save_to_disk writes data-00000-of-00001.arrow into a folder named for the split
  const name = /^\d*$|^data$|^dataset$/.test(stem) ? basename(dirname(path)) : stem;
  return SPLIT.test(name) ? name : undefined;
}

/** The files of one split, or the reason why none could be chosen. */
export type ChosenFiles = { readonly files: readonly string[] } | { readonly fault: string };

/** The split to read by default: UltraFeedback's preferences, else the whole training split. */
const TRAIN = ['train_prefs', 'train'] as const;

/**
 * Chooses the files of a split among all files of a folder, sorted by name. If no file name contains a split, all files
 * are `train`.
 *
 * @param split a name, which must exist; or a list, from which the first split that exists is chosen, else the only split
 */
export function chooseSplit(paths: readonly string[], split: string | readonly string[] = TRAIN): ChosenFiles {
  const files = paths.filter(isDataFile).sort(byCodePoint);
  if (files.length === 0)
    return { fault: `expected ${FORMATS} files, found ${insteadOfData(paths) ?? 'none. Check the path'}` };
  const splits = bySplit(files);
  const names = [...splits.keys()];
  const preferred = typeof split === 'string' ? split : split.find((name) => splits.has(name));
  const name = preferred ?? (names.length === 1 ? names[0] : undefined);
  const chosen = splits.get(name ?? '');
  if (chosen === undefined) {
    const expected = name === undefined ? 'a split to read' : `the split ${name}`;
    return {
      fault: `expected ${expected}, found the splits ${names.join(', ')}. Name one of them with split, or a path`,
    };
  }
  const fault = faultOf(chosen);
  return fault === undefined ? { files: chosen } : { fault };
}

/** What files without rows are, to complete "found …" without a full stop; undefined if that is unknown. */
export const insteadOfData = (paths: readonly string[]): string | undefined =>
  otherTables(paths.toSorted(byCodePoint))?.replace(/\.$/, '');

function bySplit(files: readonly string[]): Map<string, string[]> {
  const named = files.some((file) => splitOf(file) !== undefined);
  const splits = new Map<string, string[]>();
  for (const file of files) {
    const split = named ? splitOf(file) : 'train';
    if (split === undefined) continue; // other files name a split, so this file belongs to none
    splits.set(split, [...(splits.get(split) ?? []), file]);
  }
  return splits;
}

function faultOf(files: readonly string[]): string | undefined {
  const formats = [...new Set(files.map((path) => DATA.exec(path)![1]!.toLowerCase()))];
  if (formats.length > 1) {
    return `expected files of one format, found ${formats.join(' and ')}. Choose one of them with a glob`;
  }
  const incomplete = files.find((file) => {
    const [shard, , count] = SHARD.exec(file) ?? [];
    return shard !== undefined && files.filter((other) => isSameSeries(file, other)).length !== Number(count);
  });
  return incomplete && `expected all shards of ${incomplete}, found only some. Download the others`;
}

/** The name that all shards of a series share. */
const seriesOf = (file: string) => file.replace(SHARD, '-of-$2').replace(/-[0-9a-f]{16}(?=\.)/, '');
const isSameSeries = (a: string, b: string) => seriesOf(a) === seriesOf(b);

// paths in a data set use slashes on every platform
const basename = (path: string) => path.slice(path.lastIndexOf('/') + 1);
const dirname = (path: string) => path.slice(0, Math.max(0, path.lastIndexOf('/')));

/** The same order on every machine, whatever its locale. */
export const byCodePoint = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);
