// Bundles code with its libraries when the package is built (esbuild) or tested (Vite): the page's script, which becomes a text in
// src/page/bundled.ts, and when it is built also src/page/images.ts.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, join, resolve } from 'node:path';

const PAGE = /report\/src\/page\/bundled\.ts$/;
const IMAGES = /report\/src\/page\/images\.ts$/;

/** A file with the libraries that it imports, and their licences. @param {string} file @param {'iife' | 'esm'} format */
async function bundle(file, format) {
  const { build } = createRequire(file)('esbuild'); // here, because vitest loads this file for every test
  const { outputFiles, metafile } = await build({
    ...{ entryPoints: [file], format, target: 'es2022', bundle: true, minify: true, legalComments: 'none' },
    ...{ write: false, metafile: true },
  });
  return `${licences(Object.keys(metafile.inputs))}\n${outputFiles[0].text}`;
}

/** The code of src/page/bundled.ts. @param {string} folder the folder of this package */
async function pageModule(folder) {
  const code = await bundle(join(folder, 'src/page/main.ts'), 'iife');
  // the text must not end the script element around it
  const script = code.replaceAll('</script', '<\\/script').replaceAll('<!--', '<\\!--');
  const page = {
    script,
    scriptHash: `sha256-${createHash('sha256').update(script).digest('base64')}`,
    style: readFileSync(join(folder, 'src/page/style.css'), 'utf8'),
  };
  return `export const bundle = ${JSON.stringify(page)};`;
}

/** The licences of the libraries among some files, which ask for their copy: each text once, after the names of its packages. */
function licences(files) {
  const names = new Map();
  for (const file of files) {
    const [, folder, name] = /^(.*\/node_modules\/((?:@[^/]+\/)?[^/]+))\//.exec(resolve(file)) ?? [];
    if (folder === undefined) continue;
    const text = licenceOf(folder);
    names.set(text, (names.get(text) ?? new Set()).add(name));
  }
  const texts = Array.from(names, ([text, packages]) => `${[...packages].sort().join(', ')}\n${text}`);
  return `/*! ${texts.join('\n\n').replaceAll('*/', '* /')} */`;
}

function licenceOf(folder) {
  const file = ['LICENSE', 'LICENSE.txt', 'LICENSE.md'].map((name) => join(folder, name)).find(existsSync);
  if (file === undefined) throw new Error(`${folder}: expected a file LICENSE, found none.`);
  return readFileSync(file, 'utf8').trim();
}

/** A source map to a file as it is in the repository, without which the package's own map would have a copy of the libraries. */
function sourceMap(file) {
  const map = { version: 3, sources: [basename(file)], sourcesContent: [readFileSync(file, 'utf8')], names: [] };
  const text = JSON.stringify({ ...map, mappings: 'AAAA' });
  return `\n//# sourceMappingURL=data:application/json;base64,${Buffer.from(text).toString('base64')}`;
}

/** @param {string} folder @returns {import('esbuild').Plugin} */
export const pageForEsbuild = (folder) => ({
  name: 'report-page',
  setup(build) {
    const replace = (filter, code) =>
      build.onLoad({ filter }, async ({ path }) => ({ contents: (await code(path)) + sourceMap(path), loader: 'js' }));
    replace(PAGE, () => pageModule(folder));
    replace(IMAGES, (path) => bundle(path, 'esm'));
  },
});

/** @param {string} folder @returns {import('vite').Plugin} */
export const pageForVite = (folder) => ({
  name: 'report-page',
  enforce: 'pre',
  load: (id) => (PAGE.test(id) ? pageModule(folder) : undefined),
});
