import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

/** A folder for one test, gone after it. */
export function scratch(): string {
  const folder = mkdtempSync(join(tmpdir(), 'wpo-tensorflow-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
