import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { pageForVite } from './packages/report/bundle.mjs';
import { LongestFirst } from './scripts/test-order.mjs';

const source = (path: string) => fileURLToPath(new URL(`./packages/${path}`, import.meta.url));

export default defineConfig({
  plugins: [pageForVite(source('report'))],
  resolve: {
    // Tests read the sources: no build is needed, and coverage maps to what is edited.
    alias: [
      { find: /^@wpo\/internal\/(.*)$/, replacement: source('../internal/src/$1.ts') },
      { find: /^@wpo\/(data|eval|gemma|trainer)\/node$/, replacement: source('$1/src/node.ts') },
      { find: /^@wpo\/data\/(pairing|hub)$/, replacement: source('data/src/$1/index.ts') },
      { find: '@wpo/tensorflow/doctor', replacement: source('tensorflow/src/doctor.ts') },
      { find: '@wpo/tensorflow/kernels', replacement: source('tensorflow/src/kernels/index.ts') },
      { find: '@wpo/report/figures', replacement: source('report/src/figures.ts') },
      { find: '@wpo/loss/scalar', replacement: source('loss/src/scalar/index.ts') },
      { find: /^@wpo\/(loss|data|eval|gemma|trainer|tensorflow|report|cli)$/, replacement: source('$1/src/index.ts') },
    ],
  },
  test: {
    include: [
      'internal/test/**/*.test.ts',
      'packages/*/test/**/*.test.ts',
      'e2e/**/*.test.ts',
      'bench/test/**/*.test.ts',
      'fuzz/**/*.test.ts',
      'kill/**/*.test.ts',
    ],
    // TensorFlow is native code: one process a file. Each has one thread, and there are as many as the smallest machine has cores:
    // threads that wait for a core of another process's would take most of the time.
    pool: 'forks',
    maxWorkers: 2,
    sequence: { sequencer: LongestFirst },
    env: { WPO_THREADS: '1' },
    testTimeout: 600_000,
    hookTimeout: 600_000,
  },
});
