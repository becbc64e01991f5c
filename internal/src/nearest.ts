/**
 * The known name most like `name`, for "Did you mean …?". The first of several equally like it.
 *
 * @param known at least one name
 */
export function nearestName(name: string, known: readonly string[]): string {
  return known.reduce((best, other) => (similarity(name, other) > similarity(name, best) ? other : best));
}

/** Dice's coefficient of the names' pairs of neighbouring letters; the first letter also counts on its own. From 0 to 0.5. */
function similarity(a: string, b: string): number {
  const bigrams = (name: string) => [...name].map((letter, i) => (name[i - 1] ?? '') + letter);
  return bigrams(a).filter((bigram) => bigrams(b).includes(bigram)).length / (a.length + b.length);
}
