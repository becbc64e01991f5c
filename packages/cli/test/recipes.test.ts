import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { planRun } from '../src/run/plan';
import { STAGE_NAMES } from '../src/schemas/run';
import { decidingValues } from '../src/schemas/schema';
import { readTrainConfig, trainSchema } from '../src/schemas/train';

const recipe = (name: string) => fileURLToPath(new URL(`../../../recipes/${name}`, import.meta.url));

test.each(readdirSync(recipe('')).filter((name) => name.endsWith('.yaml') && name !== 'hybrid.yaml'))(
  'recipes/%s is a valid configuration',
  async (name) => {
    await expect(readTrainConfig(recipe(name))).resolves.toBeDefined();
  },
);

test('the recipe of the published run has its numbers', async () => {
  expect(await readTrainConfig(recipe('gemma-2-9b-it-wpo-hb.yaml'))).toMatchObject({
    learningRate: 1e-6,
    beta: 0.01,
    perDeviceTrainBatchSize: 1,
    gradientAccumulationSteps: 16,
    numTrainEpochs: 2,
    maxLength: 2048,
    maxPromptLength: 1800,
    lrSchedulerType: 'cosine',
    warmupRatio: 0.1,
    alignment: 'sampled',
    clamp: true,
    completion: 'paper',
    truncation: 'paper',
    precision: 'bfloat16',
    masterWeights: 'exact',
    offloadOptimizer: 'cpu',
  });
});

test('recipes/hybrid.yaml has every stage, and trains with the settings of the published run', async () => {
  const { stages } = await planRun(recipe('hybrid.yaml'));
  expect(stages.map(({ name }) => name)).toEqual([...STAGE_NAMES]);
  const settings = Object.fromEntries(stages.map((stage) => [stage.name, stage.settings]));
  expect(settings.sample).toMatchObject({ seeds: [13, 21, 42, 79, 100], temperature: 0.8, top_p: 0.95 });
  expect(settings.pair).toMatchObject({ strategy: 'max-min', off_policy: ['gpt-4-turbo'] });
  const published = await readTrainConfig(recipe('gemma-2-9b-it-wpo-hb.yaml'));
  expect(decidingValues(trainSchema, published, ['results', 'files'])).toEqual(settings.train);
  expect(stages[1]!.inputs).toContain(stages[0]!.out); // the answers that were sampled are among those scored
});
