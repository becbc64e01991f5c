import '@wpo/tensorflow';
import { gemmaPolicy, loadWeights, portableKernels, type TensorSource } from '@wpo/gemma';
import { openSafetensors, readModelFolder } from '@wpo/gemma/node';
import { tensorflowAdamW, tensorflowGradientNorm, tensorflowKernels } from '@wpo/tensorflow/kernels';
import { adamW } from '@wpo/trainer';
import { goldenFolder } from '../packages/gemma/test/golden';
import { tiers } from '../packages/tensorflow/test/tiers';

/**
 * What training computes with: operations composed from tfjs, TensorFlow's own, or what the command line takes, fused where
 * they are built.
 */
export const backends = {
  portable: () => ({ kernels: portableKernels, optimizer: adamW(), computeNorm: undefined }),
  raw: () => ({
    kernels: tiers.raw.kernels(),
    optimizer: adamW({ kernel: tiers.raw.update }),
    computeNorm: tiers.raw.norm,
  }),
  fused: () => ({
    kernels: tensorflowKernels(),
    optimizer: adamW({ kernel: tensorflowAdamW() }),
    computeNorm: tensorflowGradientNorm(),
  }),
};

export type Kind = keyof typeof backends;

/** Each fixture model by each way to compute. */
export const everyWay = (['tiny', 'odd'] as const).flatMap((variant) =>
  (['portable', 'raw', 'fused'] as const).map((kind) => [variant, kind] as const),
);

/** A fixture's reference and the policy moved away from it, for one way to compute. */
export async function goldenPolicies(variant: string, kind: Kind) {
  const { kernels } = backends[kind]();
  const folder = goldenFolder(variant);
  const { config, checkpoint } = await readModelFolder(folder);
  const moved = await openSafetensors(`${folder}/policy.safetensors`);
  const policyOf = async (source: TensorSource) =>
    gemmaPolicy(await loadWeights(config, source, { kernels }), { kernels });
  const policies = { reference: await policyOf(checkpoint), policy: await policyOf(moved) };
  await Promise.all([checkpoint.close(), moved.close()]);
  return policies;
}
