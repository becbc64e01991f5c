import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Columns } from '@wpo/data';
import { InvalidArgumentError } from 'commander';
import * as v from 'valibot';
import { maybe, text } from './config-values';

/** Fields that may lie in another column; here and not asked of @wpo/data, so that `wpo --help` loads no library. */
const FIELDS: Readonly<Record<keyof Columns, true>> = {
  prompt: true,
  system: true,
  chosen: true,
  rejected: true,
  id: true,
  weight: true,
  score_chosen: true,
  score_rejected: true,
};
const fields = Object.keys(FIELDS) as (keyof Columns)[];

const column = v.optional(text('the name of a column'));

/** The keys of a run file that say what is read of its data. */
export const sourceKeys = {
  dataset_train_split: maybe(
    text('the name of a split'),
    'split of train_file, where that is a folder or a data set; without it, train_prefs or train',
  ),
  dataset_test_split: maybe(
    text('the name of a split'),
    'split of eval_file, likewise; without it, test_prefs, test or validation',
  ),
  columns: maybe(
    v.strictObject(
      Object.fromEntries(fields.map((field) => [field, column])) as Record<keyof Columns, typeof column>,
      `columns of ${fields.join(', ')}`,
    ),
    'columns that hold the fields, e.g. {prompt: question, chosen: a, rejected: b}; without it, the layout is told by the columns',
  ),
};

/**
 * A model or data set as a run keeps it, whatever folder it is read from later: the absolute path of what lies on this
 * machine, or the hub's full name, `hf://org/name`. `org/name` is the hub's where there is no such path.
 */
export function sourceFrom(folder: string, source: string, kind: 'model' | 'dataset'): string {
  if (source.startsWith('hf://')) return source;
  const path = resolve(folder, source);
  const named = /^\w[\w.-]*\/\w[\w.-]*$/.test(source) && !/\.(jsonl|ndjson|json|parquet)(\.(gz|zst))?$/i.test(source);
  if (!named || existsSync(path)) return path;
  return kind === 'model' ? `hf://${source}` : `hf://datasets/${source}`;
}

/** Reads `--columns field=column`, which may be repeated. */
export function columnsFlag(given: string, before: Columns = {}): Columns {
  const [, field = '', name = ''] = /^([^=]+)=(.+)$/s.exec(given) ?? [];
  if (fields.includes(field as keyof Columns)) return { ...before, [field]: name };
  throw new InvalidArgumentError(`Wanted field=column, the field one of ${fields.join(', ')}.`);
}
