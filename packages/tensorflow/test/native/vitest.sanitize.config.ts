import { fileURLToPath } from 'node:url';
import { defineConfig, mergeConfig } from 'vitest/config';
import root from '../../../../vitest.config';

// The tests of native operations, as `npm run test:sanitize` runs them.
const TESTS = [
  'native-inputs',
  'native-store',
  'native-random',
  'native-faults',
  'kernels',
  'products',
  'generate',
  'gpu',
  'gpu/fused-attention',
];

const config = mergeConfig(
  root,
  defineConfig({
    test: {
      setupFiles: [fileURLToPath(new URL('sanitize-setup.ts', import.meta.url))],
      testTimeout: 600_000,
      hookTimeout: 600_000,
    },
  }),
);
config.test!.include = TESTS.map((name) => `packages/tensorflow/test/${name}.test.ts`);

export default config;
