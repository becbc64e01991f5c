import { fileURLToPath } from 'node:url';
import { defineConfig, type Options } from 'tsup';

/** The maps of the ES modules have the sources in them. One copy is enough, and a map without sources is of no use. */
const noMapsOfCommonJs: NonNullable<Options['plugins']>[number] = {
  name: 'no-maps-of-commonjs',
  esbuildOptions(options) {
    if (this.format !== 'cjs') return;
    options.sourcemap = false; // esbuild's map
    this.options = { ...this.options, sourcemap: false }; // that of tsup's transforms; each format has its own `this`
  },
};

/** ESM and CJS side by side, each with its own declarations. */
export const library = (entry: string[] | Record<string, string>, more: Options = {}) =>
  defineConfig({
    entry,
    format: ['esm', 'cjs'],
    target: 'node20',
    platform: 'neutral',
    clean: true,
    // in CommonJS too: the entries of a package share one copy of its code, and so of its error classes
    splitting: true,
    sourcemap: true,
    plugins: [noMapsOfCommonJs],
    dts: {
      compilerOptions: {
        // makes tsconfig.json's `paths` lead to the sources, so that types of the internal package are copied in
        baseUrl: fileURLToPath(new URL('.', import.meta.url)),
        ignoreDeprecations: '6.0', // TypeScript 6 deprecates `baseUrl`
      },
    },
    ...more,
  });
