import '@wpo/tensorflow';
import {
  type Gemma2,
  gemmaPolicy,
  loadWeights,
  type Precision,
  portableBf16Kernels,
  portableKernels,
} from '@wpo/gemma';
import { openSafetensors, readModelFolder } from '@wpo/gemma/node';
import { tensorflowGradientNorm, tensorflowKernels, tensorflowOptimizer, weightStorage } from '@wpo/tensorflow/kernels';
import { adamW } from '@wpo/trainer';
import { goldenFolder } from '../packages/gemma/test/golden';

/** The sets of kernels that training can use: portable, and native (what the command line uses). */
export const backends = {
  portable: (precision?: Precision) => ({
    kernels: precision === 'bfloat16' ? portableBf16Kernels : portableKernels,
    optimizer: adamW(),
    computeNorm: undefined,
  }),
  native: (precision?: Precision) => ({
    kernels: tensorflowKernels({ precision }),
    optimizer: adamW({ kernel: tensorflowOptimizer() }),
    computeNorm: tensorflowGradientNorm(),
  }),
};

export type Kind = keyof typeof backends;

/** Every fixture model with every set of kernels. */
export const allBackends = (['tiny', 'odd'] as const).flatMap((variant) =>
  (['portable', 'native'] as const).map((kind) => [variant, kind] as const),
);

/** A fixture's reference, held as the command line holds it, and its perturbed policy, with one set of kernels. */
export async function goldenPolicies(variant: string, kind: Kind, precision?: Precision) {
  const { kernels } = backends[kind](precision);
  const folder = goldenFolder(variant);
  const { config, checkpoint } = await readModelFolder(folder);
  const perturbed = await openSafetensors(`${folder}/policy.safetensors`);
  const policyOf = (model: Gemma2) => gemmaPolicy(model, { kernels });
  const held = kind === 'native' ? { loadTensor: weightStorage().loadTensor } : {};
  const policies = {
    reference: policyOf(await loadWeights(config, checkpoint, { trainable: false, ...held })),
    policy: policyOf(await loadWeights(config, perturbed, { kernels })),
  };
  await Promise.all([checkpoint.close(), perturbed.close()]);
  return policies;
}

/** A fixture's reference as a policy that can be trained. */
export async function trainablePolicy(variant: string, kind: Kind) {
  const { kernels } = backends[kind]();
  const { config, checkpoint } = await readModelFolder(goldenFolder(variant));
  const model = await loadWeights(config, checkpoint, { kernels });
  await checkpoint.close();
  return gemmaPolicy(model, { kernels });
}
