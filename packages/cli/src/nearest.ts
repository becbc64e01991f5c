/**
 * The known name that is most similar to `name`, for "Did you mean …?". Undefined if none is similar: a suggestion that has
 * nothing to do with the word is worse than none. A beginning that few names have counts as similar, and case
 * does not matter.
 */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  const word = name.slice(0, MAX_LENGTH).toLowerCase();
  const longer = word.length < 2 ? [] : known.filter((other) => other.toLowerCase().startsWith(word));
  if (longer.length > 0 && longer.length < word.length) return longer[0];
  let best: string | undefined;
  let least = allowedEdits(word) + 1;
  for (const other of known) {
    const lower = other.toLowerCase();
    const edits = Math.min(editDistance(word, lower), editDistance(sortedWords(word), sortedWords(lower)) + 1);
    if (edits < least) [best, least] = [other, edits];
  }
  return best;
}

/** No name of ours is longer. */
const MAX_LENGTH = 60;

/** One typing error in a short word, and one more for every four letters. */
const allowedEdits = (name: string) => (name.length < 3 ? 0 : Math.max(1, Math.floor(name.length / 4)));

/** The words of a name in another order count as the same: `length_max` for `max_length`. */
const sortedWords = (name: string) => name.split(/[_-]/).sort().join('_');

/** Letters to insert, remove, replace or swap with their neighbour to get from one word to the other. */
function editDistance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = rows[i - 1]![j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swapped =
        i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? rows[i - 2]![j - 2]! + 1 : replaced;
      row.push(Math.min(rows[i - 1]![j]! + 1, row[j - 1]! + 1, replaced, swapped));
    }
    rows.push(row);
  }
  return rows[a.length]![b.length]!;
}
