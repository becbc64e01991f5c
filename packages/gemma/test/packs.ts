import type { Gemma2 } from '../src/model';
import type { Kernels } from '../src/ops/contract';
import { gemmaPolicy, type PolicyOptions } from '../src/policy';

export type Packs = readonly (readonly {
  readonly id: string;
  readonly prompt: ArrayLike<number>;
  readonly chosen: ArrayLike<number>;
  readonly rejected: ArrayLike<number>;
}[])[];

/** Any d loss / d logps, of both signs. */
export const slopesOf = (logps: Float32Array) => logps.map((logp, i) => Math.sin(1 + 3 * i + logp));

/**
 * The log-probs of packs that run in a pass each, one after the other. Their gradients add up in the parameters. The embedding's rows are
 * added after the last pass, because a pass over all packs adds the gradients of all output heads before.
 */
export async function passesInTurn(
  model: Gemma2,
  packs: Packs,
  { kernels, ...options }: PolicyOptions & { readonly kernels: Kernels },
): Promise<Float32Array[]> {
  const atTheEnd: (() => void)[] = [];
  const embedding: Kernels['embedding'] = (ids, weight, scale) => {
    const result = kernels.embedding(ids, weight, scale);
    return {
      ...result,
      backward(dy) {
        const kept = dy.clone();
        atTheEnd.push(() => {
          result.backward(kept);
          kept.dispose();
        });
        return [];
      },
    };
  };
  const policy = gemmaPolicy(model, { ...options, kernels: { ...kernels, embedding } });
  const logps: Float32Array[] = [];
  for (const pairs of packs) {
    const pass = await policy.forward(pairs, { train: true, step: 2 });
    const terms = await pass.terms();
    logps.push(terms.logps);
    await pass.backward(slopesOf(terms.logps));
    pass.dispose();
  }
  for (const add of atTheEnd) add();
  return logps;
}
