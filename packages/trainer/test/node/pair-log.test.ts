import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { adamW, type PairRow, type TokenPair, train } from '../../src';
import { pairLogFile, readPairLog } from '../../src/node';
import { logsPairsOf } from '../../src/pair-log';
import { spread, toyPolicy } from '../toy-policy';

const folder = mkdtempSync(join(tmpdir(), 'wpo-pair-log-'));
afterAll(() => rmSync(folder, { recursive: true }));

const row: PairRow = {
  ...{ step: 1, id: 'a\u2028b', weight: 0.5, loss: 0.3, margin: 0.1 },
  ...{ chosen_logps: -3, rejected_logps: -4, prompt_tokens: 2, chosen_tokens: 3, rejected_tokens: 1 },
};

const rowsOf = async (path: string) => {
  const rows: PairRow[] = [];
  for await (const one of readPairLog(path)) rows.push(one);
  return rows;
};

test('a rewound log has the rows up to the step, and none for a new run', async () => {
  const path = join(folder, 'rewound.jsonl');
  const log = pairLogFile(path);
  await log.write([1, 2, 2, 3].map((step) => ({ ...row, step })));
  writeFileSync(path, `${readFileSync(path, 'utf8')}{"step": 3, "id`);
  await log.rewind!(2);
  expect((await rowsOf(path)).map(({ step }) => step)).toEqual([1, 2, 2]);
  await log.write([{ ...row, step: 3 }]);
  expect(await rowsOf(path)).toEqual([1, 2, 2, 3].map((step) => ({ ...row, step })));
  await log.rewind!(0);
  expect(readFileSync(path, 'utf8')).toBe('');
});

test('lines that are no rows are left out', async () => {
  const path = join(folder, 'damaged.jsonl');
  writeFileSync(path, `null\n{"id":"x"}\nnonsense\n${JSON.stringify(row)}\n`);
  expect(await rowsOf(path)).toEqual([row]);
});

test('training logs each pair of each step with its sources and lengths', async () => {
  const pairs: TokenPair[] = [
    { id: 'first', prompt: [1], chosen: [2, 3], rejected: [4], sources: { chosen: 'policy', rejected: 'other' } },
    { id: 'second', prompt: [1, 2], chosen: [3], rejected: [4, 4, 4] },
  ];
  const rows: PairRow[] = [];
  const policy = toyPolicy(5, spread(25), spread(5, 0.5));
  const optimizer = adamW();
  const reference = pairs.map(() => ({ chosen: -1, rejected: -2 }));
  const log = { write: (some: readonly PairRow[]) => void rows.push(...some) };
  const metrics: Record<string, number>[] = [];
  await train({
    ...{ policy, optimizer, pairs, reference, learningRate: 0.01, epochs: 2, loggingSteps: 1, pairLog: log },
    metrics: { write: (one) => void metrics.push(one) },
    usedMemory: () => 1234,
  });
  expect(rows.map(({ step, id }) => [step, id])).toEqual([
    [1, 'first'],
    [2, 'second'],
    [3, 'first'],
    [4, 'second'],
  ]);
  expect(rows[0]).toMatchObject({ source_chosen: 'policy', source_rejected: 'other', prompt_tokens: 1 });
  expect(rows[1]).toMatchObject({ prompt_tokens: 2, chosen_tokens: 1, rejected_tokens: 3 });
  expect(rows[1]).not.toHaveProperty('source_chosen');
  for (const [i, { weight, margin, loss }] of rows.entries()) {
    expect(weight).toBe(metrics[i]!['wpo/weight']);
    expect(margin).toBe(metrics[i]!['rewards/margins']);
    expect(loss).toBe(metrics[i]!.loss);
    expect(metrics[i]!.memory_bytes).toBe(1234);
  }
  policy.dispose();
  optimizer.dispose();
});

test('a long run logs the pairs of every n-th step, 100,000 rows at most', () => {
  const plan = { pairs: 1, microBatchesPerEpoch: 1, stepsPerEpoch: 1, batchSize: 2, gradientAccumulationSteps: 64 };
  const logged = (totalSteps: number) => {
    const logs = logsPairsOf({ ...plan, totalSteps });
    return Array.from({ length: totalSteps }, (_, i) => i + 1).filter(logs);
  };
  expect(logged(781)).toHaveLength(781); // 99,968 pairs
  expect(logged(2000).slice(0, 3)).toEqual([1, 4, 7]); // 256,000 pairs
  expect(logged(2000).length * 128).toBeLessThanOrEqual(100_000);
});
