/** @throws where `name` is none of those known, with the likest of them. `what` says what it names. */
export function checkName(where: string, what: string, name: unknown, known: readonly string[]): void {
  const given = String(name);
  if (known.includes(given)) return;
  const [meant] = [...known].sort((a, b) => likeness(given, b) - likeness(given, a));
  throw new Error(`${where}: unknown ${what} '${given}'. Did you mean '${meant}'? Known: ${known.join(', ')}.`);
}

/** The share of letters, each taken with the one before it, that two names have in common (Dice's coefficient). */
function likeness(a: string, b: string): number {
  const pieces = (name: string) => [...name].map((letter, i) => (name[i - 1] ?? '') + letter);
  return pieces(a).filter((piece) => pieces(b).includes(piece)).length / (a.length + b.length);
}
