// Bundles the page's script, and gives it to src/page/bundled.ts when the package is built (esbuild) or tested (Vite).
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const BUNDLED = /report\/src\/page\/bundled\.ts$/;
const LIBRARIES = ['@observablehq/plot', 'd3', 'interval-tree-1d', 'isoformat'];

/** The code of src/page/bundled.ts. @param {string} folder the folder of this package */
async function bundledModule(folder) {
  const require = createRequire(join(folder, 'package.json'));
  const { build } = require('esbuild'); // here, because vitest loads this file for every test
  const { outputFiles } = await build({
    entryPoints: [join(folder, 'src/page/main.ts')],
    ...{ bundle: true, minify: true, write: false, format: 'iife', target: 'es2022', legalComments: 'none' },
    banner: { js: licences(require) },
  });
  // the text must not end the script element around it
  const script = outputFiles[0].text.replaceAll('</script', '<\\/script').replaceAll('<!--', '<\\!--');
  const page = {
    script,
    scriptHash: `sha256-${createHash('sha256').update(script).digest('base64')}`,
    style: readFileSync(join(folder, 'src/page/style.css'), 'utf8'),
  };
  return `export const bundle = ${JSON.stringify(page)};`;
}

/** The licences of the libraries in the script, which ask for their copy. */
function licences(require) {
  const plot = createRequire(require.resolve('@observablehq/plot'));
  const texts = LIBRARIES.map((name) => {
    const at = dirname((name === '@observablehq/plot' ? require : plot).resolve(name));
    return `${name}\n${licenceAbove(at, name)}`;
  });
  return `/*! ${texts.join('\n\n').replaceAll('*/', '* /')} */`;
}

function licenceAbove(folder, name) {
  for (let at = folder; at !== dirname(at); at = dirname(at)) {
    for (const file of ['LICENSE', 'LICENSE.txt', 'LICENSE.md']) {
      try {
        return readFileSync(join(at, file), 'utf8').trim();
      } catch {
        // it may be in the folder above
      }
    }
  }
  throw new Error(`${name}: expected a file LICENSE in its package, found none.`);
}

/** A source map to src/page/bundled.ts as it is in the repository, without which the package's own map would have a copy of the script. */
function sourceMap(folder) {
  const sourcesContent = [readFileSync(join(folder, 'src/page/bundled.ts'), 'utf8')];
  const map = { version: 3, sources: ['bundled.ts'], sourcesContent, names: [], mappings: 'AAAA' };
  return `\n//# sourceMappingURL=data:application/json;base64,${Buffer.from(JSON.stringify(map)).toString('base64')}`;
}

/** @param {string} folder @returns {import('esbuild').Plugin} */
export const pageForEsbuild = (folder) => ({
  name: 'report-page',
  setup(build) {
    build.onLoad({ filter: BUNDLED }, async () => ({
      contents: (await bundledModule(folder)) + sourceMap(folder),
      loader: 'js',
    }));
  },
});

/** @param {string} folder @returns {import('vite').Plugin} */
export const pageForVite = (folder) => ({
  name: 'report-page',
  enforce: 'pre',
  load: (id) => (BUNDLED.test(id) ? bundledModule(folder) : undefined),
});
