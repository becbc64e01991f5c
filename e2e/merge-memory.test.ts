import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { adaptedModules, adapterTensors, type Gemma2Config, gemma2Presets, loraDefaults } from '@wpo/gemma';
import { randomWeights, writeAdapterFolder, writeModelFolder } from '@wpo/gemma/node';
import { fileCheckpoints } from '@wpo/trainer/node';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { healthyStart } from '../packages/trainer/src/collapse';
import { emptyInterval } from '../packages/trainer/src/metrics';
import { built, LONG } from './support';

const small: Gemma2Config = {
  ...gemma2Presets.tiny,
  hiddenSize: 512,
  numHiddenLayers: 1,
  layerTypes: ['sliding_attention'],
};
/** The embedding has 256 MiB in float32, and each weight of the MLP has 64 MiB. */
const large: Gemma2Config = { ...small, vocabSize: 2 ** 17, intermediateSize: 2 ** 15 };

const folder = mkdtempSync(join(tmpdir(), 'wpo-merge-memory-'));
afterAll(() => rmSync(folder, { recursive: true }));

beforeAll(async () => {
  await built();
  for (const [name, config] of Object.entries({ small, large })) await writeFiles(join(folder, name), config);
}, LONG);

/** A bfloat16 model, an adapter of its MLPs, and a run with a checkpoint, which is in float32. */
async function writeFiles(at: string, config: Gemma2Config) {
  const tensors = randomWeights(config, { seed: 1 });
  await writeModelFolder(join(at, 'model'), { config, tensors, dtype: 'BF16' });

  const lora = { ...loraDefaults, targetModules: ['gate_proj', 'up_proj', 'down_proj'] };
  const values = adapterTensors(adaptedModules(lora, config, ''), lora).map(({ name, shape }) => ({
    name,
    shape,
    data: () => new Float32Array(shape.reduce((size, length) => size * length, 1)).fill(0.01),
  }));
  await writeAdapterFolder(join(at, 'adapter'), { config: lora, baseModel: '', tensors: values, dtype: 'F32' });

  await fileCheckpoints(join(at, 'run'), {
    writeModelFiles: (path) => writeModelFolder(path, { config, tensors, dtype: 'F32' }),
    writeTensors: async (path) => {
      if (!path.endsWith('model.safetensors')) writeFileSync(path, '');
    },
    readTensors: async function* () {},
  }).save({ state, weights: [], optimizer: [] });
}

const state = {
  version: 1,
  step: 1,
  tokens: 0,
  log: [],
  interval: emptyInterval,
  optimizerStep: 1,
  evaluationDue: false,
  skippedSteps: 0,
  best: null,
  health: healthyStart,
  healthyUpTo: 0,
  goodStep: null,
  random: null,
  run: {},
} as const;

/** Peak resident memory in bytes of `wpo` in a process of its own. */
function peakOf(...args: string[]): number {
  const report = `process.on('exit', () => console.error(/VmHWM.*/.exec(require('fs').readFileSync('/proc/self/status', 'utf8'))[0]))`;
  const preload = join(folder, 'report-peak.cjs');
  writeFileSync(preload, report);
  const { status, stderr } = spawnSync(process.execPath, ['--require', preload, wpo, ...args], { encoding: 'utf8' });
  expect(status, stderr).toBe(0);
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(stderr)![1]) * 1024;
}

const wpo = fileURLToPath(new URL('../packages/cli/bin/wpo.mjs', import.meta.url));

/** The embedding alone has 256 MiB in float32. */
const MOST = 160 * 2 ** 20;

// Linux reports a process's peak of memory in /proc.
describe.skipIf(process.platform !== 'linux').each(['bfloat16', 'float32'])(
  'to %s, a large model takes little more memory than a small one',
  (dtype) => {
    const at = (...path: string[]) => join(folder, ...path);

    test('in wpo merge', () => {
      const peak = (name: string) => {
        const inputs = ['--model', at(name, 'model'), '--adapter', at(name, 'adapter')];
        return peakOf('merge', ...inputs, '--out', at(name, `merged-${dtype}`), '--dtype', dtype);
      };
      expect(peak('large') - peak('small')).toBeLessThan(MOST);
    });

    test('in wpo export', () => {
      const peak = (name: string) =>
        peakOf('export', at(name, 'run'), '--out', at(name, `exported-${dtype}`), '--dtype', dtype);
      expect(peak('large') - peak('small')).toBeLessThan(MOST);
    });
  },
);
