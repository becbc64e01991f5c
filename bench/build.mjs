// Bundles the benchmark's sources. They use the built packages, as a user's project would.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'tsup';

/** Keeps `@wpo/x` and `@wpo/x/y` external and resolves them to the packages' built files. The internal package has only sources. */
const builtPackages = (root) => ({
  name: 'built-packages',
  setup({ onResolve }) {
    onResolve({ filter: /^@wpo\// }, ({ path }) => {
      const [, name, entry = 'index'] = path.split('/');
      if (name === 'internal') return { path: join(root, 'internal/src', `${path.slice('@wpo/internal/'.length)}.ts`) };
      return { path: pathToFileURL(join(root, 'packages', name, 'dist', `${entry}.js`)).href, external: true };
    });
  },
});

/**
 * @param {string} root the repository's folder
 * @returns {Promise<string>} the folder that holds `main.mjs` and `worker.mjs`
 */
export async function buildBench(root) {
  const folder = join(root, 'node_modules/.cache/wpo/bench');
  await build({
    config: false,
    silent: true,
    entry: { main: join(root, 'bench/main.ts'), worker: join(root, 'bench/ours/worker.ts') },
    outDir: folder,
    outExtension: () => ({ js: '.mjs' }),
    format: 'esm',
    target: 'node20',
    platform: 'node',
    splitting: false,
    sourcemap: 'inline',
    external: [/^@tensorflow\//],
    esbuildPlugins: [builtPackages(root)],
  });
  return folder;
}
