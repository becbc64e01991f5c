import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findRuntime } from './runtimes';
import { LONG } from './support';

const root = fileURLToPath(new URL('..', import.meta.url));
const fixtures = join(root, 'packages/gemma/test/fixtures/golden');
const versions = (['node20', 'node22', 'node24', 'node26'] as const).map((name) => [name, findRuntime(name)] as const);

/**
 * One training run under every supported version of Node, in a project that has the packages. Its data have the characters at which the line
 * reader of Node 24 and later splits.
 */
export function testNodeVersions(project: () => string): void {
  describe('each version of Node', () => {
    const folder = mkdtempSync(join(tmpdir(), 'wpo-node-'));
    afterAll(() => rmSync(folder, { recursive: true }));

    beforeAll(() => {
      const pairs = readFileSync(join(fixtures, 'pairs.jsonl'), 'utf8').trim().split('\n').slice(0, 4);
      const rows = pairs.map((line) => JSON.parse(line) as { chosen: { content: string }[] });
      const separators = 'One\u2028two\u2029three\u0085four\u000bfive.';
      for (const { chosen } of rows) chosen[1]!.content += separators;
      const write = (file: string, lines: readonly unknown[]) =>
        writeFileSync(join(folder, file), lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
      write('pairs.jsonl', rows);
      write(
        'prompts.jsonl',
        ['a', 'b', 'c'].map((prompt_id) => ({ prompt_id, prompt: `${prompt_id}: ${separators}` })),
      );
    });

    /** What the first version computed. The others must compute the same bits. */
    let results: object | undefined;

    describe.each(versions)('%s', (name, node) => {
      const run = (...args: string[]) =>
        execFileSync(node!, [join(project(), 'node_modules/@wpo/cli/bin/wpo.mjs'), ...args], {
          cwd: folder,
          encoding: 'utf8',
          stdio: 'pipe',
        });

      test.skipIf(!node)(
        'trains, weighs and samples with the same results',
        () => {
          const config = join(folder, `${name}.yaml`);
          const keys = {
            model_name_or_path: join(fixtures, 'tiny'),
            train_file: join(folder, 'pairs.jsonl'),
            output_dir: join(folder, name),
            learning_rate: 0.001,
            max_steps: 2,
            save_steps: 1,
            logging_steps: 1,
            gradient_accumulation_steps: 2,
            max_length: 160,
            max_prompt_length: 96,
          };
          writeFileSync(config, JSON.stringify(keys)); // JSON is YAML
          run('train', config);
          const steps = readFileSync(join(folder, name, 'metrics.jsonl'), 'utf8')
            .trim()
            .split('\n');
          const losses = steps
            .map((line) => (JSON.parse(line) as { loss?: number }).loss)
            .filter((loss) => loss !== undefined);
          const model = join(folder, name, 'model');
          run('weigh', '--model', model, '--pairs', 'pairs.jsonl', '--out', `${name}-weights.jsonl`);
          const sample = [
            'sample',
            '--model',
            model,
            '--prompts',
            'prompts.jsonl',
            '--max-new-tokens',
            '4',
            '--source',
            'tiny',
          ];
          run(...sample, '--out', `${name}-answers.jsonl`, '--seeds', '1');
          run(...sample, '--out', `${name}-answers.jsonl`, '--seeds', '1,2'); // reads the answers of the first command
          const read = (file: string) => readFileSync(join(folder, file), 'utf8');
          const found = {
            losses,
            model: createHash('sha256')
              .update(readFileSync(join(model, 'model.safetensors')))
              .digest('hex'),
            weights: read(`${name}-weights.jsonl`),
            answers: read(`${name}-answers.jsonl`),
          };
          expect(found.losses).toHaveLength(2);
          expect(found.weights.split('\n')).toHaveLength(5);
          expect(found.answers.split('\n')).toHaveLength(7);
          results ??= found;
          expect(found).toEqual(results);
        },
        LONG,
      );
    });
  });
}
