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
    // declarations need TypeScript 6 told that tsup's own `baseUrl` is known to be deprecated
    dts: { compilerOptions: { ignoreDeprecations: '6.0' } },
    ...more,
  });
