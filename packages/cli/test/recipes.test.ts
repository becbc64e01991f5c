import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { readRunConfig } from '../src/run-config';
import { STAGES } from '../src/run-file';
import { planRun } from '../src/run-plan';

const recipe = (name: string) => fileURLToPath(new URL(`../../../recipes/${name}`, import.meta.url));

test.each(readdirSync(recipe('')).filter((name) => name !== 'hybrid.yaml'))(
  'recipes/%s is a config without mistakes',
  async (name) => {
    await expect(readRunConfig(recipe(name))).resolves.toBeDefined();
  },
);

test('the recipe of the published run holds its numbers', async () => {
  expect(await readRunConfig(recipe('gemma-2-9b-it-wpo-hb.yaml'))).toMatchObject({
    learning_rate: 1e-6,
    beta: 0.01,
    per_device_train_batch_size: 1,
    gradient_accumulation_steps: 16,
    num_train_epochs: 2,
    max_length: 2048,
    max_prompt_length: 1800,
    lr_scheduler_type: 'cosine',
    warmup_ratio: 0.1,
    alignment: 'sampled',
    clamp: true,
    completion: 'paper',
    truncation: 'paper',
  });
});

test('recipes/hybrid.yaml has every stage, and trains as the recipe of the published run does', async () => {
  const { stages } = await planRun(recipe('hybrid.yaml'));
  expect(stages.map(({ name }) => name)).toEqual([...STAGES]);
  const settings = Object.fromEntries(stages.map((stage) => [stage.name, stage.settings]));
  expect(settings.sample).toMatchObject({ seeds: [13, 21, 42, 79, 100], temperature: 0.8, topP: 0.95 });
  expect(settings.pair).toMatchObject({ strategy: 'max-min', offPolicy: ['gpt-4-turbo'] });
  expect(await readRunConfig(recipe('gemma-2-9b-it-wpo-hb.yaml'))).toMatchObject(settings.train!);
  expect(stages[1]!.inputs).toContain(stages[0]!.out); // the answers that were sampled are among those scored
});
