import '@wpo/tensorflow';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as tf from '@tensorflow/tfjs-core';
import { tensorflowKernels } from '@wpo/tensorflow/kernels';
import { beforeAll, describe, expect, test } from 'vitest';
import { type AdaptedGemma2, adapted } from '../../src/adapter/adapted';
import { parseLoraConfig } from '../../src/adapter/lora-config';
import type { Gemma2 } from '../../src/model';
import { openSafetensors } from '../../src/node/read-checkpoint';
import type { Kernels } from '../../src/ops/contract';
import { portableKernels } from '../../src/ops/portable';
import { gemmaPolicy, type TokenTerms } from '../../src/policy';
import { golden, goldenModel, goldenPairs } from '../golden';

// Values of PEFT, from scripts/make-peft-fixtures.py.
const folder = fileURLToPath(new URL('../fixtures/peft', import.meta.url));

type Sides = Record<'chosen' | 'rejected', number>;
interface Case {
  readonly logps: Sides[];
  readonly mergedLogps: Sides[];
  readonly loss: number;
  readonly gradients: Record<string, { norm: number; first: number[]; cosine: number }>;
}
const { beta, cases }: { beta: number; cases: Record<string, Case> } = JSON.parse(
  readFileSync(join(folder, 'expected.json'), 'utf8'),
);

const pairs = goldenPairs(golden('tiny').truncation.paper);
const sum = (values: ArrayLike<number>) => Array.from(values).reduce((a, b) => a + b, 0);

export async function peftModel(base: Gemma2, name: string, kernels: Kernels): Promise<AdaptedGemma2> {
  const at = join(folder, name, 'adapter_config.json');
  const file = await openSafetensors(join(folder, name, 'adapter_model.safetensors'));
  const tensors = new Map<string, tf.Tensor>();
  for (const tensor of file.names()) {
    tensors.set(tensor, tf.tensor(await file.read(tensor), [...file.info(tensor).shape]));
  }
  await file.close();
  return adapted(base, parseLoraConfig(JSON.parse(readFileSync(at, 'utf8')), at), { tensors, kernels });
}

/** Each answer's terms, in the order of a pass. */
function* answers(terms: TokenTerms) {
  let end = 0;
  for (const pair of pairs) {
    for (const side of ['chosen', 'rejected'] as const) {
      const start = end;
      end += pair[side].length;
      const part = (values: Float32Array) => values.subarray(start, end);
      yield { side, pair, logps: part(terms.logps), squares: part(terms.logSumSquares) };
    }
  }
}

async function termsOf(model: Gemma2, kernels: Kernels): Promise<TokenTerms> {
  const pass = await gemmaPolicy(model, { kernels }).forward(pairs, { train: false });
  const terms = await pass.terms();
  pass.dispose();
  return terms;
}

describe.each([
  ['portable', () => portableKernels],
  ['native', tensorflowKernels],
] as const)('on the %s kernels', (_, makeKernels) => {
  const kernels = makeKernels();
  let base: Gemma2;
  beforeAll(async () => {
    base = await goldenModel('tiny');
  });

  describe.each(Object.entries(cases))("the adapter %s has PEFT's", (name, expected) => {
    test('log-probs', async () => {
      const model = await peftModel(base, name, kernels);
      const found = [...answers(await termsOf(model, kernels))].map(({ logps }) => sum(logps));
      const logps = expected.logps.flatMap(({ chosen, rejected }) => [chosen, rejected]);
      found.forEach((value, i) => {
        const size = Math.max(1, Math.abs(logps[i]!)); // float32 logits of about 20 leave an absolute error
        expect(Math.abs(value - logps[i]!) / size, `answer ${i}`).toBeLessThan(1e-5);
      });
      model.adapter.dispose();
    });

    test.skipIf(Object.keys(expected.gradients).length === 0)(
      'gradients of the mean WPO loss of four pairs',
      async () => {
        const model = await peftModel(base, name, kernels);
        const policy = gemmaPolicy(model, { kernels });
        const reference = [...answers(await termsOf(base, kernels))].map(({ logps }) => sum(logps));
        const pass = await policy.forward(pairs.slice(0, 4), { train: true });
        const four = [...answers(await pass.terms())].slice(0, 8);
        let loss = 0;
        const dLogps = [0, 2, 4, 6].flatMap((i) => {
          const [chosen, rejected] = [four[i]!, four[i + 1]!];
          const alignment = sum(
            [chosen, rejected].map(({ logps, squares }) => (sum(logps) - sum(squares)) / logps.length),
          );
          const weight = Math.exp(Math.min(0, alignment));
          const delta = sum(chosen.logps) - reference[i]! - sum(rejected.logps) + reference[i + 1]!;
          loss += (weight * Math.log1p(Math.exp(-beta * delta))) / 4;
          const slope = (weight * beta) / (1 + Math.exp(beta * delta)) / 4;
          return [...chosen.logps.map(() => -slope), ...rejected.logps.map(() => slope)];
        });
        expect(Math.abs(loss / expected.loss - 1)).toBeLessThan(1e-5);
        await pass.backward(Float32Array.from(dLogps));
        pass.dispose();
        expect(policy.parameters.map((p) => p.name)).toEqual(model.adapter.parameters.map((p) => p.name));
        expect(policy.parameters.map((p) => p.name).sort()).toEqual(Object.keys(expected.gradients).sort());
        for (const parameter of policy.parameters) {
          const { norm, first, cosine } = expected.gradients[parameter.name]!;
          const found = (await parameter.gradient()!.data()) as Float32Array;
          const relative = (value: number, from: number) => Math.abs(value - from) / norm;
          expect(relative(Math.sqrt(sum(found.map((x) => x * x))), norm), parameter.name).toBeLessThan(1e-4);
          expect(relative(sum(found.map((x, i) => x * Math.cos(i + 1))), cosine), parameter.name).toBeLessThan(1e-4);
          first.forEach((value, i) => expect(relative(found[i]!, value), parameter.name).toBeLessThan(1e-4));
        }
        model.adapter.dispose();
      },
    );
  });
});
