import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { apiProblems } from '../scripts/api-report.mjs';
import { absoluteLinks } from '../scripts/pack.mjs';
import { copyProblems, linkProblems, mapProblems, refusals } from '../scripts/release-checks.mjs';
import { readJson } from './project';
import { publishedPackages } from './support';

// What `npm run release` refuses. e2e/packed.test.ts runs its checks on the packages.

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'wpo-release-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('publishing', () => {
  const ready = {
    env: { ACTIONS_ID_TOKEN_REQUEST_URL: 'https://token.example' },
    changes: '',
    changesets: [],
    version: '0.1.0',
    repository: 'git+https://github.com/someone/wpo.git',
  };

  test('is refused for each thing that is not ready', () => {
    expect(refusals(ready)).toEqual([]);
    expect(refusals({ ...ready, env: {} })).toEqual([expect.stringContaining('`id-token: write`')]);
    expect(refusals({ ...ready, changes: ' M a.ts' })).toEqual([expect.stringContaining('a.ts')]);
    expect(refusals({ ...ready, changesets: ['b.md'] })).toEqual([expect.stringContaining('b.md')]);
    expect(refusals({ ...ready, version: '0.0.0' })).toEqual([expect.stringContaining('npx changeset version')]);
    const placeholder = 'git+https://github.com/OWNER/wpo.git';
    expect(refusals({ ...ready, repository: placeholder })).toEqual([expect.stringContaining(placeholder)]);
  });

  test('stops outside continuous integration before anything is built', () => {
    const { ACTIONS_ID_TOKEN_REQUEST_URL: _, ...env } = process.env;
    const program = join(root, 'scripts/release.mjs');
    const { status, stderr } = spawnSync(process.execPath, [program, folder], { env, encoding: 'utf8' });
    expect(status).toBe(1);
    expect(stderr).toMatch(/^Nothing is published:\n- npm provenance/);
  });
});

/** Writes files into a folder of their own, which is returned. */
function write(name: string, files: Readonly<Record<string, string>>): string {
  for (const [path, text] of Object.entries(files)) {
    const to = join(folder, name, path);
    mkdirSync(dirname(to), { recursive: true });
    writeFileSync(to, text);
  }
  return join(folder, name);
}

describe('the public types of a package', () => {
  const entry = (name: string) => ({ import: { types: `./dist/${name}.d.ts` } });
  const manifest = { name: 'api', version: '1.0.0', exports: { '.': entry('index'), './node': entry('node') } };
  const index =
    '/** A. */\ninterface Part {\n  a: number;\n}\nexport interface Whole {\n  parts: Part[];\n}\nexport {};\n';
  const types = (more: Readonly<Record<string, string>> = {}) =>
    write('api', {
      'package.json': JSON.stringify(manifest),
      'dist/index.d.ts': index,
      'dist/node.d.ts': "import type { Whole } from './index';\nexport declare function read(path: string): Whole;\n",
      ...more,
    });

  test('are compared with the reports of its entries', () => {
    const [, missing] = apiProblems([types()]);
    expect(missing).toMatch(
      /^api\/node: expected its public types in .*node\.api\.md, found no file\.\n.*`npm run api`/,
    );
    expect(apiProblems([types({ 'etc/old.api.md': '' })], { write: true })).toEqual([]);
    expect(readdirSync(join(folder, 'api/etc'))).toEqual(['index.api.md', 'node.api.md']);
    expect(readFileSync(join(folder, 'api/etc/node.api.md'), 'utf8')).toContain('read(path: string): Whole;');
    // a comment is no type
    const old = { 'dist/index.d.ts': index.replace('A.', 'B.'), 'etc/old.api.md': '' };
    expect(apiProblems([types(old)])).toEqual([
      expect.stringMatching(/old\.api\.md: expected an entry of the package, found none/),
    ]);
  });

  test('differ where a type differs that they are made of, in every entry that has it', () => {
    apiProblems([types()], { write: true });
    const problems = apiProblems([types({ 'dist/index.d.ts': index.replace('number', 'string') })]);
    expect(problems.map((problem) => problem.split(':')[0])).toEqual(['api', 'api/node']);
    for (const problem of problems) {
      expect(problem).toMatch(/^-\s+a: number;\n\+\s+a: string;$/m);
      expect(problem).toContain(
        'users are meant to see this, write the report with `npm run api`, and add a changeset.',
      );
    }
  });

  test('must be readable', () => {
    const [error] = apiProblems([types({ 'dist/index.d.ts': `${index}export declare const a: Missing;\n` })]);
    expect(error).toBe(
      'api: expected types that API Extractor can read, found: Internal Error: Unable to follow symbol for "Missing"',
    );
  });
});

describe('the files of a package', () => {
  const map = (sourcesContent?: string[]) => JSON.stringify({ sources: ['../src/a.ts'], sourcesContent });
  const code = '// src/a.ts\n1;\n//# sourceMappingURL=a.js.map';

  test('may have source maps with their sources only', () => {
    const sources = write('sources', { 'src/a.ts': 'the source' });
    const problems = (name: string, files: Readonly<Record<string, string>>) =>
      mapProblems(write(name, files), Object.keys(files), sources);
    expect(problems('full', { 'dist/a.js': code, 'dist/a.js.map': map(['the source']) })).toEqual([]);
    const another =
      'dist/a.js.map: expected the text of ../src/a.ts as it is in the repository, found another or none.';
    expect(problems('empty', { 'dist/a.js': code, 'dist/a.js.map': map() })).toEqual([another]);
    expect(problems('stale', { 'dist/a.js': code, 'dist/a.js.map': map(['old']) })).toEqual([another]);
    expect(problems('missing', { 'dist/a.js': code })).toEqual([expect.stringContaining('found no file')]);
    expect(problems('unused', { 'dist/a.js.map': map(['the source']) })).toEqual([
      expect.stringContaining('found none'),
    ]);
  });

  test('may have the code of a module once for each module format', () => {
    const once = { 'dist/a.js': code, 'dist/a.cjs': code };
    expect(copyProblems(write('once', once), Object.keys(once))).toEqual([]);
    const twice = { ...once, 'dist/b.cjs': code };
    expect(copyProblems(write('twice', twice), Object.keys(twice))).toEqual([
      'src/a.ts: expected its code in one file, found it in dist/a.cjs, dist/b.cjs.',
    ]);
  });

  test('have links to the repository in place of relative ones', () => {
    const repository = { url: 'git+https://github.com/someone/wpo.git', directory: 'packages/cli' };
    const text = '[a](../loss), [b](../../docs/cli.md#flags), [c](#here), [d](https://e.example)';
    const address = 'https://github.com/someone/wpo';
    expect(absoluteLinks(text, repository)).toBe(
      `[a](${address}/tree/main/packages/loss), [b](${address}/blob/main/docs/cli.md#flags), [c](#here), [d](https://e.example)`,
    );
    expect(linkProblems(text)).toHaveLength(2);
    expect(linkProblems(absoluteLinks(text, repository))).toEqual([]);
  });
});

test.each(publishedPackages())('the manifest of @wpo/%s has what npm shows, with the address of the root’s', (name) => {
  const { repository } = readJson(join(root, 'package.json')) as { repository: { url: string } };
  const address = repository.url.replace('git+', '').replace('.git', '');
  const manifest = readJson(join(root, 'packages', name, 'package.json'));
  expect(manifest).toMatchObject({
    name: `@wpo/${name}`,
    description: expect.stringMatching(/.{20}/),
    license: 'Apache-2.0',
    homepage: `${address}/tree/main/packages/${name}#readme`,
    bugs: `${address}/issues`,
    repository: { ...repository, directory: `packages/${name}` },
    keywords: expect.arrayContaining(['wpo']),
    engines: { node: '>=20' },
    publishConfig: { access: 'public', provenance: true },
    files: expect.arrayContaining(['dist', 'README.md', 'LICENSE']),
  });
  expect(readFileSync(join(root, 'packages', name, 'LICENSE'), 'utf8')).toContain('Apache License');
});
