import '@wpo/tensorflow';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadWeights, parametersOf, sequenceLogits } from '@wpo/gemma';
import { readModelFolder } from '@wpo/gemma/node';
import { afterAll, describe, expect, test } from 'vitest';

// As a user does: runs the built `wpo train`, then loads its output folder in transformers.

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const fixtures = at('../../packages/gemma/test/fixtures/golden');
const python = process.env.WPO_PYTHON || 'python3';

/** The output of check_model.py. */
interface Checked {
  readonly problems: Record<string, string[]>;
  readonly dtype: string;
  readonly logits: number[][];
  readonly prompt_ids: number[];
  readonly completion_ids: number[];
  readonly text: string;
}

describe.skipIf(!hasTransformers())('transformers on the output of wpo train', () => {
  const folder = mkdtempSync(join(tmpdir(), 'wpo-transformers-'));
  afterAll(() => rmSync(folder, { recursive: true }));

  test.each([
    ['tiny', 'float32'],
    ['odd', 'bfloat16'],
  ])(
    'loads %s in %s with every weight, computes the same logits and generates the same text',
    async (variant, dtype) => {
      const source = join(fixtures, variant);
      const run = join(folder, `${variant}-${dtype}`);
      wpo('train', trainingConfig(source, run, dtype));
      const trained = join(run, 'model');

      const prompt = 'Name three colours of the rainbow.';
      const { ids } = JSON.parse(readFileSync(join(source, 'expected.json'), 'utf8')).logits as { ids: number[] };
      const theirs = check(trained, { ids, prompt });
      expect(theirs.problems).toEqual({});
      expect(theirs.dtype).toBe(dtype);
      expect(theirs.logits).toHaveLength(ids.length);

      const ours = await logitsOf(trained, ids);
      const flat = theirs.logits.flat();
      expect(ours).toHaveLength(flat.length);
      expect(largest(flat.map((value, i) => value - ours[i]!)) / largest(flat)).toBeLessThan(1e-4);
      // training changed the model: its logits differ from the source's
      const before = await logitsOf(source, ids);
      expect(largest(flat.map((value, i) => value - before[i]!)) / largest(flat)).toBeGreaterThan(1e-2);

      const [answer] = wpo(
        ...[
          'generate',
          '--model',
          trained,
          '--prompt',
          prompt,
          '--temperature',
          '0',
          '--max-new-tokens',
          '24',
          '--json',
        ],
      ).split('\n');
      const { prompt_ids, completion_ids, text } = theirs;
      expect(JSON.parse(answer!)).toEqual({ prompt_ids, completion_ids, text });
    },
  );
});

function hasTransformers(): boolean {
  const { status, error, stderr } = spawnSync(python, ['-c', 'import torch, transformers'], { encoding: 'utf8' });
  if (status === 0) return true;
  const why = error?.message ?? stderr.trim().split('\n').at(-1);
  console.warn(
    `SKIPPED: transformers on the output of wpo train: ${python} cannot import torch and transformers (${why}). ` +
      'Set WPO_PYTHON to a Python that can.',
  );
  return false;
}

/** Four steps of two pairs, with a learning rate high enough to change every weight. */
function trainingConfig(source: string, outputDir: string, dtype: string): string {
  const path = `${outputDir}.yaml`;
  const config = {
    model_name_or_path: source,
    train_file: join(fixtures, 'pairs.jsonl'),
    output_dir: outputDir,
    save_dtype: dtype,
    beta: 0.1,
    learning_rate: 1e-3,
    gradient_accumulation_steps: 2,
    max_steps: 4,
    max_length: 160,
    max_prompt_length: 96,
  };
  writeFileSync(path, JSON.stringify(config)); // JSON is YAML
  return path;
}

function run(program: string, args: readonly string[], input?: string): string {
  const { status, error, stdout, stderr } = spawnSync(program, args, { input, encoding: 'utf8', maxBuffer: 2 ** 28 });
  if (error) throw error;
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} exited with ${status}:\n${stdout}${stderr}`);
  return stdout;
}

const wpo = (...args: string[]) => run(process.execPath, [at('../../packages/cli/bin/wpo.mjs'), ...args]);

const check = (folder: string, request: { ids: number[]; prompt: string }): Checked =>
  JSON.parse(run(python, [at('check_model.py'), folder], JSON.stringify(request)));

async function logitsOf(folder: string, ids: readonly number[]): Promise<Float32Array> {
  const { config, checkpoint } = await readModelFolder(folder);
  const model = await loadWeights(config, checkpoint);
  await checkpoint.close();
  const logits = await sequenceLogits(model, ids);
  for (const parameter of parametersOf(model)) parameter.dispose();
  return logits;
}

const largest = (values: readonly number[]) => values.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
