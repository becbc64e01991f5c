// Damaged files of a run: checkpoints, metrics, reference log-probs, config.yaml, run.json and caches of replies. Each is refused with
// a plain error that names the file, or the run continues with exactly what was written.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { openReplyCache } from '@wpo/eval/node';
import { seal } from '@wpo/internal/node/sealed';
import { fileCheckpoints, metricsFile, referenceFiles } from '@wpo/trainer/node';
import fc from 'fast-check';
import { openRunState } from '../../packages/cli/src/run/state';
import { decidingValues } from '../../packages/cli/src/schemas/schema';
import { type TrainConfig, trainSchema } from '../../packages/cli/src/schemas/train';
import { configYaml, parseConfig } from '../../packages/cli/src/schemas/yaml-config';
import { runFolder, stateOf } from '../../packages/cli/src/training/run-folder';
import type { TrainerState } from '../../packages/trainer/src/checkpoint';
import { healthyStart } from '../../packages/trainer/src/collapse';
import { emptyInterval } from '../../packages/trainer/src/metrics';
import { formatTrainerState, parseTrainerState } from '../../packages/trainer/src/node/trainer-state';
import { expectPlainError, type Family, mutatedBytes, mutatedJson } from '../family';

const rows = [1, 2, 3].map((step) => ({ step, loss: 0.69 / step, 'wpo/weight': 0.25, step_seconds: 0.5 }));
const state: TrainerState = {
  version: 1,
  step: 3,
  tokens: 1234,
  log: rows,
  interval: { ...emptyInterval, steps: 1, pairs: 4, loss: 0.3 },
  optimizerStep: 3,
  evaluationDue: false,
  skippedSteps: 0,
  best: { step: 2, value: 0.5 },
  health: healthyStart,
  healthyUpTo: 2,
  goodStep: 2,
  random: null,
  run: { pairs: 16, total_steps: 8, learning_rate: 0.001, beta: 0.1 },
};
const logps = [-1.5, -2.25, -300].map((chosen, i) => ({ chosen, rejected: -1e-8 * i - 1 }));
const records = { train: { settings: 'a'.repeat(64), inputs: 'b'.repeat(64), outputs: 'c'.repeat(64) } };
const replies = { first: 'Rating: 7', second: 'Rating: 2' };
const yaml =
  'model_name_or_path: /m\ntrain_file: /t.jsonl\noutput_dir: /run\nbeta: 0.1\nlearning_rate: 1e-3\nseed: 7\n';
const config = parseConfig(trainSchema, yaml, { file: 'config.yaml' });

const text = {
  metrics: rows.map((row) => `${JSON.stringify(row)}\n`).join(''),
  reference: logps.map((value, i) => `${seal('k', { pair: i, ...value })}\n`).join(''),
  config: configYaml(trainSchema, config),
  record: `${seal('run.json', { stages: records }, 2)}\n`,
  replies: Object.entries(replies)
    .map(([key, value]) => `${seal('reply cache', { key, value })}\n`)
    .join(''),
};
const tensors = { model: Buffer.from('weights of the model'), optimizer: Buffer.from('moments of AdamW') };
const CHECKPOINT_FILES = [
  'model.safetensors',
  'optimizer.safetensors',
  'trainer_state.json',
  'manifest.json',
  'config.json',
];

/** Stands for the tensors' files, whose own format other families test. */
const store = (folder: string) =>
  fileCheckpoints(folder, {
    writeTensors: (path) => writeFile(path, path.includes('optimizer') ? tensors.optimizer : tensors.model),
    async *readTensors() {},
    writeModelFiles: (path) => writeFile(join(path, 'config.json'), '{"model_type": "gemma2"}'),
  });

type Input =
  | { readonly kind: keyof typeof text; readonly bytes: Uint8Array }
  | { readonly kind: 'checkpoint'; readonly file: string; readonly bytes: Uint8Array }
  | { readonly kind: 'state'; readonly value: unknown };

const ofText = (kind: keyof typeof text): fc.Arbitrary<Input> =>
  mutatedBytes([Buffer.from(text[kind])]).map((bytes) => ({ kind, bytes }));
const seeds: Record<string, string> = {
  'model.safetensors': String(tensors.model),
  'optimizer.safetensors': String(tensors.optimizer),
  'trainer_state.json': formatTrainerState(state),
  'manifest.json': '{}', // replaced by the real one below: see `manifest`
  'config.json': '{"model_type": "gemma2"}',
};
const manifest = {
  'model.safetensors': { bytes: 20, sha256: 'a'.repeat(64) },
  'optimizer.safetensors': { bytes: 16, sha256: 'b'.repeat(64) },
  'trainer_state.json': { bytes: 1000, sha256: 'c'.repeat(64) },
};
seeds['manifest.json'] = `${seal('manifest.json', manifest, 2)}\n`;

const expectSame = (found: unknown, expected: unknown, what: string) => {
  if (!isDeepStrictEqual(found, expected)) throw new Error(`${what}: other values were read: ${JSON.stringify(found)}`);
};

/** Returns an outcome, or throws: a plain error is a refusal. */
async function run(input: Input, folder: string): Promise<string> {
  if (input.kind === 'state') {
    parseTrainerState(seal('trainer_state.json', input.value as object, 2));
    return 'valid by its schema';
  }
  if (input.kind === 'checkpoint') {
    const runs = join(folder, 'checkpoints');
    await store(runs).save({ state, weights: [], optimizer: [] });
    const path = join(runs, 'checkpoint-3', input.file);
    const before = readFileSync(path);
    const bytes = input.file === 'manifest.json' ? mixed(before, input.bytes) : input.bytes;
    writeFileSync(path, bytes);
    const [stored] = await store(runs).list();
    const opened = await stored!.open();
    expectSame(opened.state, state, path);
    if (!input.file.endsWith('.json')) expectSame(readFileSync(path), before, path);
    return 'read unchanged';
  }
  const paths = {
    metrics: 'metrics.jsonl',
    reference: 'k.jsonl',
    config: 'config.yaml',
    record: 'run.json',
    replies: 'r.jsonl',
  };
  const path = join(folder, paths[input.kind]);
  writeFileSync(path, input.bytes);
  const warnings: string[] = [];
  const warn = (message: string) => void warnings.push(message);
  const outcome = () => (warnings.length > 0 ? 'restored or recomputed, with a warning' : 'read unchanged');
  if (input.kind === 'metrics') {
    await metricsFile(path, { warn }).rewind!(rows);
    expectSame(await readFile(path, 'utf8'), text.metrics, path);
  } else if (input.kind === 'reference') {
    const found = await referenceFiles(folder, { warn }).read('k');
    expectSame(found, logps.slice(0, found.length), path);
  } else if (input.kind === 'record') {
    const found = await openRunState(folder);
    expectSame(found.get('train'), records.train, path);
  } else if (input.kind === 'replies') {
    const cache = await openReplyCache(path, (value) => typeof value === 'string');
    try {
      for (const [key, value] of Object.entries(replies)) {
        const found = cache.get(key);
        if (found !== undefined) expectSame(found, value, path);
      }
    } finally {
      await cache.close();
    }
  } else {
    mkdirSync(join(folder, 'checkpoint-1'), { recursive: true });
    await stateOf(runFolder(folder), config, true);
    const found = parseConfig(trainSchema, await readFile(path, 'utf8'), { file: path });
    const { max_steps, num_train_epochs, learning_rate, ...values } = deciding(found);
    const { max_steps: _, num_train_epochs: __, learning_rate: rate, ...expected } = deciding(config);
    expectSame(values, expected, path);
    if (Number(learning_rate) < Number(rate)) throw new Error(`${path}: a lower rate before was accepted`);
  }
  return outcome();
}

const deciding = (values: TrainConfig) => decidingValues(trainSchema, values);

/** A manifest of this run, changed where a manifest of the seeds was changed. */
function mixed(manifest: Buffer, mutated: Uint8Array): Uint8Array {
  const seed = Buffer.from(seeds['manifest.json']!);
  const bytes = Buffer.from(manifest);
  for (let i = 0; i < Math.min(mutated.length, bytes.length); i++) if (mutated[i] !== seed[i]) bytes[i] = mutated[i]!;
  return bytes.subarray(0, bytes.length + Math.min(0, mutated.length - seed.length));
}

export const family: Family<Input> = {
  name: 'run-state',
  input: fc.oneof(
    ...(Object.keys(text) as (keyof typeof text)[]).map(ofText),
    ...CHECKPOINT_FILES.map((file) =>
      mutatedBytes([Buffer.from(seeds[file]!)]).map((bytes): Input => ({ kind: 'checkpoint', file, bytes })),
    ),
    mutatedJson([JSON.parse(JSON.stringify(state))])
      .filter((value) => typeof value === 'object' && value !== null && !Array.isArray(value))
      .map((value): Input => ({ kind: 'state', value })),
  ),
  async check(input, { folder, count }) {
    const kind = input.kind === 'checkpoint' ? input.file : input.kind;
    const own = join(folder, 'case');
    mkdirSync(own);
    try {
      count(`${kind} ${await run(input, own)}`);
    } catch (error) {
      if (error instanceof Error && error.message.includes('other values were read')) throw error;
      expectPlainError(error);
      count(`${kind} refused`);
    } finally {
      rmSync(own, { recursive: true });
    }
  },
};
