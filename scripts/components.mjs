// What some tests use if it is there, beyond what setup.mjs puts in place: those tests are skipped aloud without it.

/**
 * Each with a name and an `ensure` that puts it in place, in seconds where it already is, and returns a line on what was
 * found; it throws, saying why, where it cannot.
 * @type {{name: string, ensure: () => Promise<string>}[]}
 */
export const components = [];

/** Puts every component in place that can be had here, a line on each. */
export async function ensureComponents() {
  for (const { name, ensure } of components) {
    try {
      console.log(`${name}: ${await ensure()}`);
    } catch (error) {
      console.log(`${name}: left out, and tests that need it are skipped (${error.message})`);
    }
  }
}
