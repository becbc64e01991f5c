import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildPublished, root } from './published';

const folder = new URL('../', import.meta.url);
const manifest = JSON.parse(await readFile(new URL('package.json', folder), 'utf8'));

async function bundle(code: string, options: { ignoreAnnotations?: boolean } = {}) {
  const { outputFiles, metafile } = await build({
    stdin: { contents: code, resolveDir: fileURLToPath(folder), sourcefile: 'user.js' },
    bundle: true,
    format: 'esm',
    packages: 'external',
    metafile: true,
    write: false,
    outfile: 'user.out.js',
    ...options,
  });
  const imports = Object.values(metafile.outputs).flatMap((output) => output.imports.map(({ path }) => path));
  return { text: outputFiles[0]!.text, imports };
}

describe('the package', () => {
  it('depends on the peer tfjs-core alone: no backend, no native module, no sibling package', async () => {
    expect(manifest.dependencies).toBeUndefined();
    expect(manifest.peerDependencies).toEqual({ '@tensorflow/tfjs-core': '^4.22.0' });
    const { imports } = await bundle("export * from './src/index.ts'");
    expect(imports).toEqual(Array(imports.length).fill('@tensorflow/tfjs-core'));
    expect(imports.length).toBeGreaterThan(0);
  });

  it('over plain numbers depends on nothing, so that the peer is optional', async () => {
    expect(manifest.peerDependenciesMeta).toEqual({ '@tensorflow/tfjs-core': { optional: true } });
    const { imports } = await bundle("export * from './src/scalar/index.ts'");
    expect(imports).toEqual([]);
  });

  it.each([
    ['./src/index.ts', 'wpoLoss'],
    ['./src/scalar/index.ts', 'preferenceLoss'],
  ])('has no side effects when %s is loaded, as `sideEffects: false` declares', async (entry, name) => {
    expect(manifest.sideEffects).toBe(false);
    // with the declaration ignored, the code left of an unused import is its side effects
    const { text } = await bundle(`import { ${name} } from '${entry}'`, { ignoreAnnotations: true });
    const statements = text.split('\n').filter((line) => line && !line.startsWith('//'));
    expect(statements.filter((line) => !line.startsWith('import '))).toEqual([]);
  });

  it.each([
    ['dpoLoss', 'labelSmoothing', /logSumSquares|checkLogps|rewards\/accuracies|logOdds|exoPair|ktoLoss|exo_pair/],
    ['simpoLoss', 'simpoGamma', /logSumSquares|checkLogps|logOdds|exoPair|ktoLoss|exo_pair/],
    ['orpoLoss', 'logOdds', /logSumSquares|exoPair|smoothed|exo_pair/],
  ])('bundles only %s where that alone is imported', async (name, kept, left) => {
    const { text } = await bundle(`export { ${name} } from './src/index.ts'`);
    expect(text).toContain(kept);
    expect(text).not.toMatch(left);
  });

  it('bundles only dpoLoss over numbers where that alone is imported', async () => {
    const { text } = await bundle("export { dpoLoss } from './src/scalar/index.ts'");
    expect(text).toContain('labelSmoothing');
    expect(text).not.toMatch(/logSumSquares|logOdds|sppo_hard|gradientOf/);
  });
});

interface Limit {
  readonly name: string;
  readonly path: string;
  readonly limit: string;
  readonly gzip: boolean;
}

const limits = JSON.parse(readFileSync(join(root, '.size-limit.json'), 'utf8')) as Limit[];
let published: ReturnType<typeof buildPublished>;
let sizes: { readonly name: string; readonly size: number; readonly sizeLimit: number; readonly passed: boolean }[];

beforeAll(async () => {
  published = buildPublished();
  const config = join(published.folder, 'limits.json');
  const moved = limits.map((limit) => ({ ...limit, path: join(published.folder, limit.path.replace('dist/', '')) }));
  writeFileSync(config, JSON.stringify(moved));
  const program = join(root, 'node_modules/size-limit/bin.js');
  sizes = JSON.parse(
    execFileSync(process.execPath, [program, '--json', '--config', config], { cwd: root, encoding: 'utf8' }),
  );
});
afterAll(() => published.remove());

it.each(limits.map(({ name, limit }) => [name, limit]))('%s is at most %s, minified and gzipped', (name) => {
  const found = sizes.find((size) => size.name === name)!;
  expect(found.size).toBeLessThanOrEqual(found.sizeLimit);
  // a measurement of an empty bundle must not pass
  expect(found.size).toBeGreaterThan(1000);
});

it('the limits are those of the README', () => {
  const promised = Object.fromEntries(limits.map(({ name, limit, gzip }) => [name, [limit, gzip]]));
  expect(promised['@wpo/loss']).toEqual(['6 kB', true]);
  expect(promised['@wpo/loss/scalar']).toEqual(['5.2 kB', true]);
});
