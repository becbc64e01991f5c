import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { readRunConfig } from '../src/run-config';

const recipe = (name: string) => fileURLToPath(new URL(`../../../recipes/${name}`, import.meta.url));

test.each(readdirSync(recipe('')))('recipes/%s is a config without mistakes', async (name) => {
  await expect(readRunConfig(recipe(name))).resolves.toBeDefined();
});

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
