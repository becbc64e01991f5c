const DATA = /\.(jsonl|ndjson|json|parquet)(\.(gz|zst))?$/i;
const METADATA = /^(dataset_infos?|dataset_dict|state|config|tokenizer.*)\.json$|^\./;
const SHARD = /-(\d{5})-of-(\d{5})/;
const SPLIT = /(^|[-_.])(train|training|test|testing|eval|evaluation|validation|valid|val|dev)([-_.]|$)/i;

/** Whether a file of a data set holds rows, by its name. */
export const isDataFile = (path: string) => DATA.test(path) && !METADATA.test(basename(path));

/** How the rows of a file lie in it, by its name. */
const formatOf = (path: string) => DATA.exec(path)![1]!.toLowerCase();

/**
 * The split that a file of a data set belongs to: `train_prefs` for `data/train_prefs-00000-of-00001.parquet`, `train`
 * for `helpful-base/train.jsonl.gz` and for `default/train/0000.parquet`. Undefined where its name says none.
 */
export function splitOf(path: string): string | undefined {
  const stem = basename(path)
    .replace(DATA, '')
    .replace(/-\d{5}-of-\d{5}.*$/, '')
    .replace(/[-_]\d+$/, '');
  const name = /^\d*$/.test(stem) ? basename(dirname(path)) : stem;
  return SPLIT.test(name) ? name : undefined;
}

/** Files of one split, or why there is no telling which. */
export type Chosen = { readonly files: readonly string[] } | { readonly fault: string };

/** The split that is trained on where none is named: UltraFeedback's preferences, else all. */
const TRAIN = ['train_prefs', 'train'] as const;

/**
 * Chooses the files of a split among all of a folder, sorted by their names. A folder whose files name no split is taken
 * whole, as `train`.
 *
 * @param split one that must be there, or several, of which the first that is there is taken, else the only one
 */
export function chooseSplit(paths: readonly string[], split: string | readonly string[] = TRAIN): Chosen {
  const files = paths.filter(isDataFile).sort(byCodePoint);
  if (files.length === 0) return { fault: 'found no JSONL, JSON or Parquet file there' };
  const splits = bySplit(files);
  const names = [...splits.keys()];
  const usual = typeof split === 'string' ? split : split.find((name) => splits.has(name));
  const name = usual ?? (names.length === 1 ? names[0] : undefined);
  const chosen = splits.get(name ?? '');
  if (chosen === undefined) {
    return { fault: `found the splits ${names.join(', ')}, wanted ${name ?? 'one of them, by a split or a path'}` };
  }
  const fault = faultOf(chosen);
  return fault === undefined ? { files: chosen } : { fault };
}

function bySplit(files: readonly string[]): Map<string, string[]> {
  const named = files.some((file) => splitOf(file) !== undefined);
  const splits = new Map<string, string[]>();
  for (const file of files) {
    const split = named ? splitOf(file) : 'train';
    if (split === undefined) continue; // beside files that name theirs: not of the data set's splits
    splits.set(split, [...(splits.get(split) ?? []), file]);
  }
  return splits;
}

function faultOf(files: readonly string[]): string | undefined {
  const formats = [...new Set(files.map(formatOf))];
  if (formats.length > 1) return `found files of ${formats.join(' and ')}, wanted one kind, or a glob that says which`;
  const missing = files.find((file) => {
    const [shard, , count] = SHARD.exec(file) ?? [];
    return shard !== undefined && files.filter((other) => sameShards(file, other)).length !== Number(count);
  });
  return missing === undefined ? undefined : `found ${missing} without all of its fellow parts, wanted them beside it`;
}

const shardsOf = (file: string) => file.replace(SHARD, '-of-$2').replace(/-[0-9a-f]{16}(?=\.)/, '');
const sameShards = (a: string, b: string) => shardsOf(a) === shardsOf(b);

const basename = (path: string) => path.slice(path.lastIndexOf('/') + 1);
const dirname = (path: string) => path.slice(0, Math.max(0, path.lastIndexOf('/')));

/** The same order on every machine. */
export const byCodePoint = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);
