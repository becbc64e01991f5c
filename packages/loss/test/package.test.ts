import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { describe, expect, it } from 'vitest';

const root = new URL('../', import.meta.url);
const manifest = JSON.parse(await readFile(new URL('package.json', root), 'utf8'));

async function bundle(code: string, options: { ignoreAnnotations?: boolean; minify?: boolean } = {}) {
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

  it('does nothing when it is loaded, as `sideEffects: false` promises', async () => {
    expect(manifest.sideEffects).toBe(false);
    // with the promise itself ignored, what is left of an unused import is what loading it would do
    const { text } = await bundle("import { wpoLoss } from './src/index.ts'", { ignoreAnnotations: true });
    const statements = text.split('\n').filter((line) => line && !line.startsWith('//'));
    expect(statements.filter((line) => !line.startsWith('import '))).toEqual([]);
  });

  it('leaves out what is not imported', async () => {
    const { text } = await bundle("export { dpoLoss } from './src/index.ts'");
    expect(text).toContain('labelSmoothing');
    expect(text).not.toMatch(/logSumSquares|checkLogps|rewards\/accuracies/);
  });

  it('is at most 6 kB, minified and gzipped', async () => {
    const { text } = await bundle("export * from './src/index.ts'", { minify: true });
    expect(gzipSync(text).length).toBeLessThanOrEqual(6000);
  });
});
