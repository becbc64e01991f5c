/** The known name that the fewest insertions, deletions and replacements of one letter make of `name`. */
export function nearest(name: string, known: readonly string[]): string {
  const ranked = [...known].sort((a, b) => edits(name, a) - edits(name, b));
  return ranked[0]!;
}

function edits(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(replaced, previous[j]! + 1, row[j - 1]! + 1));
    }
    previous = row;
  }
  return previous[b.length]!;
}
