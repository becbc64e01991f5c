import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { describe, expect, it } from 'vitest';

const root = new URL('../', import.meta.url);
const manifest = JSON.parse(await readFile(new URL('package.json', root), 'utf8'));

async function bundle(code: string, options: { ignoreAnnotations?: boolean } = {}) {
  const { outputFiles, metafile } = await build({
    stdin: { contents: code, resolveDir: fileURLToPath(root), sourcefile: 'user.js' },
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
  it('hangs on a peer tfjs-core and nothing else: no backend, no native module, no sibling', async () => {
    expect(manifest.dependencies).toBeUndefined();
    expect(manifest.peerDependencies).toEqual({ '@tensorflow/tfjs-core': '^4.22.0' });
    const { imports } = await bundle("export * from './src/index.ts'");
    expect(imports).toEqual(Array(imports.length).fill('@tensorflow/tfjs-core'));
    expect(imports.length).toBeGreaterThan(0);
  });

  it('hangs, over plain numbers, on nothing at all, so that the peer is optional', async () => {
    expect(manifest.peerDependenciesMeta).toEqual({ '@tensorflow/tfjs-core': { optional: true } });
    const { imports } = await bundle("export * from './src/scalar/index.ts'");
    expect(imports).toEqual([]);
  });

  it.each([
    ['./src/index.ts', 'wpoLoss'],
    ['./src/scalar/index.ts', 'preferenceLoss'],
  ])('does nothing when %s is loaded, as `sideEffects: false` promises', async (entry, name) => {
    expect(manifest.sideEffects).toBe(false);
    // with the promise itself ignored, what is left of an unused import is what loading it would do
    const { text } = await bundle(`import { ${name} } from '${entry}'`, { ignoreAnnotations: true });
    const statements = text.split('\n').filter((line) => line && !line.startsWith('//'));
    expect(statements.filter((line) => !line.startsWith('import '))).toEqual([]);
  });

  it.each([
    ['dpoLoss', 'labelSmoothing', /logSumSquares|checkLogps|rewards\/accuracies|logOdds|byRank|ktoLoss|exo_pair/],
    ['simpoLoss', 'simpoGamma', /logSumSquares|checkLogps|logOdds|divergenceTo|ktoLoss|exo_pair/],
    ['orpoLoss', 'logOdds', /logSumSquares|divergenceTo|smoothed|exo_pair/],
  ])('keeps of all losses %s where that alone is imported', async (name, kept, left) => {
    const { text } = await bundle(`export { ${name} } from './src/index.ts'`);
    expect(text).toContain(kept);
    expect(text).not.toMatch(left);
  });

  it('keeps of the losses over numbers DPO’s where that alone is imported', async () => {
    const { text } = await bundle("export { dpoLoss } from './src/scalar/index.ts'");
    expect(text).toContain('labelSmoothing');
    expect(text).not.toMatch(/logSumSquares|logOdds|sppo_hard|MEAN_SCORE/);
  });
});
