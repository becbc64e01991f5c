/**
 * The known name that is most similar to `name`, for "Did you mean …?". If several are equally similar, the first of them.
 *
 * @param known at least one name
 */
export function nearestName(name: string, known: readonly string[]): string {
  return known.reduce((best, other) => (similarity(name, other) > similarity(name, best) ? other : best));
}

/** Half of Dice's coefficient of the names' letter bigrams, from 0 to 0.5. The first letter also counts on its own. */
function similarity(a: string, b: string): number {
  const bigrams = (name: string) => [...name].map((letter, i) => (name[i - 1] ?? '') + letter);
  return bigrams(a).filter((bigram) => bigrams(b).includes(bigram)).length / (a.length + b.length);
}
