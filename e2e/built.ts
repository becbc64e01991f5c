import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { setUp } from '../scripts/setup.mjs';

/**
 * Builds the packages whose sources have changed, with their types. Every test file asks for the types too, so that no test
 * runs while another file's build replaces what it reads.
 */
export const built = () => setUp({ quiet: true, declarations: true });

/** Timeout in milliseconds of a test that may build all packages or download TensorFlow on a slow machine. */
export const LONG = 600_000;

/** Folder names of the packages that are published, such as `loss`. */
export function publishedPackages(): string[] {
  const packages = new URL('../packages/', import.meta.url);
  return readdirSync(fileURLToPath(packages)).filter(
    (name) => !JSON.parse(readFileSync(new URL(`${name}/package.json`, packages), 'utf8')).private,
  );
}
