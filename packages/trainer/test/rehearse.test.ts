import { expect, test } from 'vitest';
import { adamW, type MetricsRow, type Policy, type TokenPair, type TrainOptions, train } from '../src';
import { spread, toyPairs, toyPolicy } from './toy-policy';

const PAIRS = toyPairs(9, 5);
const tokensOf = ({ prompt, chosen, rejected }: TokenPair) => prompt.length + chosen.length + rejected.length;
const LONGEST = Math.max(...PAIRS.map(tokensOf));

/** Trains for two steps; what was run, and with which results. */
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
  };
  const rows: MetricsRow[] = [];
  const metrics = { write: (row: MetricsRow) => void rows.push(row) };
  const reference = PAIRS.map(() => ({ chosen: -3, rejected: -4 }));
  const how = { pairs: PAIRS, reference, metrics, maxSteps: 2, learningRate: 0.1, loggingSteps: 1 };
  await train({ policy, optimizer: adamW(), ...how, ...more });
  return { seen, values: toy.values(), losses: rows.map((row) => row.loss) };
}

test('the longest pairs that a step can hold are run first, and leave nothing behind', async () => {
  for (const cut of [{ batchSize: 1 }, { batchSize: 3 }]) {
    const [plain, rehearsed] = [await run(cut), await run({ ...cut, rehearse: true })];
    const [first, ...others] = rehearsed.seen;
    const sorted = PAIRS.map(tokensOf).sort((a, b) => b - a);
    expect(first!.map(tokensOf)).toEqual(sorted.slice(0, cut.batchSize));
    expect(others).toEqual(plain.seen);
    expect(rehearsed.values).toEqual(plain.values);
    expect(rehearsed.losses).toEqual(plain.losses);
  }
});

test('packed by tokens, as many of the longest as go into a pack', async () => {
  const { seen } = await run({ maxTokensPerPack: 2 * LONGEST, rehearse: true, gradientAccumulationSteps: 9 });
  const total = seen[0]!.reduce((sum, pair) => sum + tokensOf(pair), 0);
  expect(total).toBeLessThanOrEqual(2 * LONGEST);
  for (const pack of seen) expect(pack.reduce((sum, pair) => sum + tokensOf(pair), 0)).toBeLessThanOrEqual(total);
});

test('a run that cannot hold them ends before its first step, with the pair and the mend', async () => {
  const tooLong = (pairs: readonly TokenPair[]) => {
    if (pairs.some((pair) => tokensOf(pair) === LONGEST)) throw new Error('OOM when allocating tensor');
  };
  const { id } = PAIRS.find((pair) => tokensOf(pair) === LONGEST)!;
  await expect(run({ rehearse: true }, tooLong)).rejects.toMatchObject({
    name: 'TrainingError',
    pairId: id,
    message: expect.stringMatching(
      new RegExp(`"${id}" of ${LONGEST} tokens.*OOM when.*activation_checkpointing: always`),
    ),
  });
});
