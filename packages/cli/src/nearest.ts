/**
 * The known name that takes the fewest changes (a letter put in, left out, replaced, or two neighbours swapped) to make
 * of `name`; the first of several.
 */
export function nearest(name: string, known: readonly string[]): string {
  return known.reduce((best, other) => (editDistance(name, other) < editDistance(name, best) ? other : best));
}

/** Damerau and Levenshtein's distance, in which no letter is changed twice ("optimal string alignment"). */
export function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      row.push(
        Math.min(
          last[j]! + 1,
          row[j - 1]! + 1,
          last[j - 1]! + (same ? 0 : 1),
          swapped ? beforeLast[j - 2]! + 1 : Number.POSITIVE_INFINITY,
        ),
      );
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length]!;
}
