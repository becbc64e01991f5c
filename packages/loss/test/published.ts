import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** This package's folder. */
export const root = fileURLToPath(new URL('..', import.meta.url));

/** Builds the published files, without type declarations, into a temporary folder. The caller calls `remove`. */
export function buildPublished(): { folder: string; remove: () => void } {
  const folder = mkdtempSync(join(tmpdir(), 'wpo-loss-'));
  const remove = () => rmSync(folder, { recursive: true, force: true });
  const tsup = join(dirname(createRequire(import.meta.url).resolve('tsup/package.json')), 'dist/cli-default.js');
  try {
    // tsup treats the dependencies of the package.json in its working directory as external
    execFileSync(process.execPath, [tsup, '--out-dir', folder, '--no-dts', '--silent'], { cwd: root });
  } catch (error) {
    remove();
    throw error;
  }
  return { folder, remove };
}
