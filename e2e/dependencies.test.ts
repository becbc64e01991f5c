import { readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { isPermissive, licenceProblems } from '../scripts/release-checks.mjs';
import { publishedPackages } from './support';

// docs/dependencies.md lists what a user installs.

const root = fileURLToPath(new URL('..', import.meta.url));
const readJson = (path: string) => JSON.parse(readFileSync(path, 'utf8')) as Record<string, Record<string, string>>;

interface Dependency {
  readonly name: string;
  readonly version: string;
  readonly licence: string;
  readonly packages: string;
}

function installed(): Dependency[] {
  const users = new Map<string, string[]>();
  for (const name of publishedPackages()) {
    const { dependencies, optionalDependencies, peerDependencies } = readJson(
      join(root, 'packages', name, 'package.json'),
    );
    for (const dependency of Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies }))
      if (!dependency.startsWith('@wpo/')) users.set(dependency, [...(users.get(dependency) ?? []), name]);
  }
  return [...users].map(([name, packages]) => {
    const folder = realpathSync(join(root, 'packages', packages[0]!, 'node_modules', name));
    const { version, license } = readJson(join(folder, 'package.json')) as Record<string, unknown>;
    return { name, version: String(version), licence: String(license), packages: packages.join(', ') };
  });
}

/** The rows of the document's first section. */
function documented(): Dependency[] {
  const text = readFileSync(join(root, 'docs/dependencies.md'), 'utf8').split('\n## ')[0]!;
  const rows = text.match(/^\| `[^\n]+/gm) ?? [];
  return rows.map((row) => {
    const [name, version, licence, , packages] = row
      .split('|')
      .slice(1)
      .map((cell) => cell.trim().replaceAll('`', ''));
    return { name: name!, version: version!, licence: licence!, packages: packages! };
  });
}

test('docs/dependencies.md lists every dependency with its version, licence and users', () => {
  const byName = (a: Dependency, b: Dependency) => (a.name < b.name ? -1 : 1);
  expect(documented().sort(byName)).toEqual(installed().sort(byName));
});

test('every dependency, and what it depends on, has a permissive licence', () => {
  expect(licenceProblems()).toEqual([]);
  expect(isPermissive('(BSD-3-Clause AND Apache-2.0)')).toBe(true);
  for (const licence of ['GPL-3.0-only', 'MIT AND LGPL-3.0', 'Unknown']) expect(isPermissive(licence)).toBe(false);
});

test('every dependency has an exact version', () => {
  for (const name of publishedPackages()) {
    const { dependencies = {} } = readJson(join(root, 'packages', name, 'package.json'));
    for (const [dependency, range] of Object.entries(dependencies))
      if (!dependency.startsWith('@wpo/'))
        expect([dependency, range]).toEqual([dependency, expect.stringMatching(/^\d/)]);
  }
});
