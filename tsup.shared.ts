import { fileURLToPath } from 'node:url';
import { defineConfig, type Options } from 'tsup';

/** ESM and CJS side by side, each with its own declarations. */
export const library = (entry: string[] | Record<string, string>, more: Options = {}) =>
  defineConfig({
    entry,
    format: ['esm', 'cjs'],
    target: 'node20',
    platform: 'neutral',
    clean: true,
    sourcemap: true,
    // one copy of the sources is enough: the maps of the CommonJS files name them only
    esbuildOptions(options, { format }) {
      options.sourcesContent = format === 'esm';
    },
    dts: {
      compilerOptions: {
        // makes tsconfig.json's `paths` lead to the sources, so that types of the internal package are copied in
        baseUrl: fileURLToPath(new URL('.', import.meta.url)),
        ignoreDeprecations: '6.0', // TypeScript 6 deprecates `baseUrl`
      },
    },
    ...more,
  });
