import { readFileSync } from 'node:fs';
import { adapted, gemmaPolicy, loadWeights } from '@wpo/gemma';
import { readAdapterFolder, readAdapterTensors, readModelFolder } from '@wpo/gemma/node';
import { expect, test } from 'vitest';
import { adapterFolder } from '../packages/gemma/test/adapter/peft';
import { goldenFolder } from '../packages/gemma/test/golden';
import { parity } from '../packages/gemma/test/parity';
import { backends } from './backends';
import { expectTrlSteps, type TrlLimits, type TrlSteps } from './trl';

/** Ten steps of TRL's DPOTrainer with a PEFT model, from an adapter that is also the reference. Made by scripts/make-peft-fixtures.py. */
interface PeftTrajectory extends TrlSteps {
  readonly adapter: string;
  /** The trained parameters, by the names in an adapter's file. */
  readonly parameters: Readonly<Record<string, { readonly norm: number; readonly first: readonly number[] }>>;
}

/** Up to 2e-5 was seen in a log-prob, which sums up to 60 float32 terms. */
const LIMITS: TrlLimits = {
  loss: 1e-5,
  grad_norm: 1e-4,
  learning_rate: 1e-12,
  num_tokens: 0.5,
  'logps/chosen': 1e-4,
  'logps/rejected': 1e-4,
  'rewards/chosen': 1e-5,
  'rewards/rejected': 1e-5,
  'rewards/margins': 1e-5,
};

const trajectories: readonly PeftTrajectory[] = JSON.parse(
  readFileSync(new URL('./fixtures/peft-trajectory.json', import.meta.url), 'utf8'),
);
const cases = trajectories.flatMap((trl) => (['portable', 'native'] as const).map((kind) => ({ trl, kind })));

// WPO_PARITY=1 prints the largest difference of each comparison, which docs/parity.md lists.
test.each(cases)('ten training steps agree with TRL and PEFT: $trl.adapter, $kind kernels', async ({ trl, kind }) => {
  const { kernels } = backends[kind]();
  const { config, checkpoint } = await readModelFolder(goldenFolder('tiny'));
  const base = await loadWeights(config, checkpoint, { trainable: false });
  const folder = await readAdapterFolder(adapterFolder(trl.adapter), config);
  const model = adapted(base, folder.config, { tensors: await readAdapterTensors(folder), kernels });
  await Promise.all([checkpoint.close(), folder.checkpoint.close()]);
  const policy = gemmaPolicy(model, { kernels });
  const compared = parity(`TRL with PEFT, ${trl.adapter}, ${kind}`);
  await expectTrlSteps(policy, kind, trl, LIMITS, compared);
  expect(policy.parameters.map(({ name }) => name).sort()).toEqual(Object.keys(trl.parameters).sort());
  for (const { name, value } of policy.parameters) {
    const values = (await value().data()) as Float32Array;
    const { norm, first } = trl.parameters[name]!;
    const found = Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));
    compared.within('norm of a parameter', found / norm - 1, 1e-5, `norm of ${name}`);
    first.forEach((expected, i) =>
      compared.within('a parameter, of the norm', (values[i]! - expected) / norm, 1e-4, name),
    );
  }
  compared.report();
});
