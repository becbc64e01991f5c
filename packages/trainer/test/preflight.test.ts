import { expect, test } from 'vitest';
import { adamW, type MetricsRow, type Policy, type TokenPair, type TrainOptions, train } from '../src';
import { spread, toyOffload, toyPairs, toyPolicy } from './toy-policy';

const PAIRS = toyPairs(9, 5);
const tokensOf = ({ prompt, chosen, rejected }: TokenPair) => prompt.length + chosen.length + rejected.length;
const LONGEST = Math.max(...PAIRS.map(tokensOf));

/** Trains for two steps and returns the passes that ran and their results. */
async function run(more: Partial<TrainOptions>, broken?: (pairs: readonly TokenPair[]) => void) {
  const toy = toyPolicy(5, spread(25), spread(5));
  const seen: TokenPair[][] = [];
  const policy: Policy = {
    parameters: toy.parameters,
    forward(pairs, options) {
      seen.push([...pairs]);
      broken?.(pairs);
      return toy.forward(pairs, options);
    },
    forwardPacks(packs, options) {
      seen.push(...packs.map((pairs) => [...pairs]));
      return toy.forwardPacks!(packs, options);
    },
  };
  const rows: MetricsRow[] = [];
  const metrics = { write: (row: MetricsRow) => void rows.push(row) };
  const reference = PAIRS.map(() => ({ chosen: -3, rejected: -4 }));
  const how = { pairs: PAIRS, reference, metrics, maxSteps: 2, learningRate: 0.1, loggingSteps: 1 };
  await train({ policy, optimizer: adamW(), ...how, ...more });
  return { seen, values: toy.values(), losses: rows.map((row) => row.loss) };
}

test('the longest micro-batch runs first and changes nothing', async () => {
  for (const cut of [{ batchSize: 1 }, { batchSize: 3 }]) {
    const [plain, checked] = [await run(cut), await run({ ...cut, preflight: true })];
    const [first, ...others] = checked.seen;
    const sorted = PAIRS.map(tokensOf).sort((a, b) => b - a);
    expect(first!.map(tokensOf)).toEqual(sorted.slice(0, cut.batchSize));
    expect(others).toEqual(plain.seen);
    expect(checked.values).toEqual(plain.values);
    expect(checked.losses).toEqual(plain.losses);
  }
});

test('with packs, the longest pairs that fit into one pack run first', async () => {
  const { seen } = await run({ maxTokensPerPack: 2 * LONGEST, preflight: true, gradientAccumulationSteps: 9 });
  const total = seen[0]!.reduce((sum, pair) => sum + tokensOf(pair), 0);
  expect(total).toBeLessThanOrEqual(2 * LONGEST);
  for (const pack of seen) expect(pack.reduce((sum, pair) => sum + tokensOf(pair), 0)).toBeLessThanOrEqual(total);
});

test('with offloadGradients, the longest micro-batches that a step can have run first, and their gradients are moved and forgotten', async () => {
  const how = { gradientAccumulationSteps: 4, batchSize: 2 };
  const [first, second] = [toyOffload(), toyOffload()];
  const plain = await run({ ...how, offloadGradients: first.offload });
  const checked = await run({ ...how, offloadGradients: second.offload, preflight: true });
  const sorted = PAIRS.map(tokensOf).sort((a, b) => b - a);
  expect(checked.seen.slice(0, 4).flat().map(tokensOf)).toEqual(sorted.slice(0, 8));
  expect(checked.values).toEqual(plain.values);
  expect(second.calls).toEqual(['bias', 'table.weight', 'clear', ...first.calls]);
});

test('with optimizerInBackward, the longest micro-batches that a step can have run first, and their gradients are discarded', async () => {
  const how = { optimizerInBackward: true, maxGradNorm: 0, gradientAccumulationSteps: 4, batchSize: 2 };
  const [plain, checked] = [await run(how), await run({ ...how, preflight: true })];
  const sorted = PAIRS.map(tokensOf).sort((a, b) => b - a);
  expect(checked.seen.slice(0, 4).flat().map(tokensOf)).toEqual(sorted.slice(0, 8));
  expect(checked.seen.slice(4)).toEqual(plain.seen);
  expect(checked.values).toEqual(plain.values);
});

test('where the longest pair does not fit into memory, the run ends before its first step with a hint', async () => {
  const tooLong = (pairs: readonly TokenPair[]) => {
    if (pairs.some((pair) => tokensOf(pair) === LONGEST)) throw new Error('OOM when allocating tensor');
  };
  const { id } = PAIRS.find((pair) => tokensOf(pair) === LONGEST)!;
  await expect(run({ preflight: true }, tooLong)).rejects.toMatchObject({
    name: 'TrainingError',
    pairId: id,
    message: expect.stringMatching(
      new RegExp(`"${id}": the longest pair \\(${LONGEST} tokens\\).*OOM when.*activation_checkpointing: always`),
    ),
  });
});
