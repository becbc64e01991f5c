import { copyFileSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { MetricsRow } from '@wpo/trainer';
import { afterAll } from 'vitest';
import { readTrainConfig, type Terminal, train, type WeighedPair } from '../src/index';

/** PyTorch's values for a fixture model of @wpo/gemma; scripts/make-golden.py made them. */
interface Golden {
  readonly truncation: { readonly limits: { readonly max_length: number; readonly max_prompt_length: number } };
  readonly pairs: readonly WeighedPair[];
  readonly greedy: readonly { readonly prompt: number[]; readonly completion: number[] }[];
  readonly formats: { readonly turn: readonly { readonly prompt: number[] }[] };
  readonly training: {
    readonly log: readonly { step: number; loss: number; grad_norm: number; learning_rate: number; weight: number }[];
  };
}

const fixtures = fileURLToPath(new URL('../../gemma/test/fixtures/golden', import.meta.url));

export const pairsFile = join(fixtures, 'pairs.jsonl');
export const modelFolder = join(fixtures, 'tiny');
export const golden = JSON.parse(readFileSync(join(modelFolder, 'expected.json'), 'utf8')) as Golden;

const temporaryFolders: string[] = [];
afterAll(() => {
  for (const folder of temporaryFolders) rmSync(folder, { recursive: true });
});

/** The folder of an adapter of the fixture's model that PEFT wrote, by scripts/make-peft-fixtures.py. */
export const peftAdapter = (name: string) =>
  fileURLToPath(new URL(`../../gemma/test/fixtures/peft/${name}`, import.meta.url));

/** A new folder, removed after the file's last test. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'wpo-cli-'));
  temporaryFolders.push(folder);
  return folder;
}

/** A new folder with the fixture's policy, a model that differs from its reference `modelFolder`. */
export function policyFolder(): string {
  const folder = join(temporaryFolder(), 'policy');
  cpSync(modelFolder, folder, { recursive: true });
  copyFileSync(join(modelFolder, 'policy.safetensors'), join(folder, 'model.safetensors'));
  return folder;
}

/** Writes the config of the fixture's training run: 8 steps of 4 pairs in file order. Returns its path. */
export function goldenConfig(folder: string): string {
  const path = join(folder, 'run.yaml');
  writeFileSync(
    path,
    `model_name_or_path: ${modelFolder}
train_file: ${pairsFile}
output_dir: run
beta: 0.1
learning_rate: 1e-3
lr_scheduler_type: cosine
warmup_ratio: 0.1
gradient_accumulation_steps: 4
num_train_epochs: 2
max_grad_norm: 1
max_length: 160
max_prompt_length: 96
shuffle: false
logging_steps: 1
`,
  );
  return path;
}

/** Trains with the configuration of a YAML file. */
export async function trainFrom(
  { config, set, resume }: { config: string; set?: readonly string[]; resume?: boolean },
  terminal: Terminal,
): Promise<number> {
  return train(await readTrainConfig(config, set), { resume }, terminal);
}

export const readMetrics = (run: string): MetricsRow[] =>
  readFileSync(join(run, 'metrics.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as MetricsRow);

/** Metrics without the fields that measure time. */
export const timeless = (rows: readonly MetricsRow[]) =>
  rows.map((row) => Object.fromEntries(Object.entries(row).filter(([name]) => !/second|memory/.test(name))));
