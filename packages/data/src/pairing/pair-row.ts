import type { Fields } from '../rows/preference-row';

/** Columns that are laid out anew in a pair. */
const LAID_OUT = new Set(['prompt_id', 'prompt', 'completion', 'source', 'score']);

/**
 * The row of a pair, as `parseRow` reads it, from the rows of its answers: `prompt_id` (where they have it), `prompt`,
 * `chosen`, `rejected`, `score_chosen`, `score_rejected`, `source_chosen`, `source_rejected`. Other columns are carried
 * along: under their own name where both rows have the same value, else as `NAME_chosen` and `NAME_rejected`.
 */
export function pairRow(chosen: Fields, rejected: Fields): Record<string, unknown> {
  const row: Record<string, unknown> = {
    ...(chosen.prompt_id === undefined ? {} : { prompt_id: chosen.prompt_id }),
    prompt: chosen.prompt,
    chosen: chosen.completion,
    rejected: rejected.completion,
    score_chosen: chosen.score,
    score_rejected: rejected.score,
    source_chosen: chosen.source,
    source_rejected: rejected.source,
  };
  const set = (name: string, value: unknown) => {
    if (value !== undefined && !Object.hasOwn(row, name)) row[name] = value;
  };
  for (const name of new Set([...Object.keys(chosen), ...Object.keys(rejected)])) {
    if (LAID_OUT.has(name)) continue;
    if (JSON.stringify(chosen[name]) === JSON.stringify(rejected[name])) set(name, chosen[name]);
    else {
      set(`${name}_chosen`, chosen[name]);
      set(`${name}_rejected`, rejected[name]);
    }
  }
  return row;
}
