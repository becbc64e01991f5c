import { fc, test } from '@fast-check/vitest';
import { expect, it } from 'vitest';
import { type SampledAnswer, type SampleRequest, sampleAnswers } from '../src/index';

const prompts = [
  { prompt_id: 'a', prompt: 'one' },
  { prompt_id: 'b', prompt: [{ role: 'user', content: 'two' }] },
  { prompt_id: 'c', prompt: 'three' },
];
const keyOf = ({ prompt_id, seed }: { prompt_id: string; seed: number }) => `${prompt_id}${seed}`;

/** Answers each request with its key, after some turns of the event loop. */
async function* echo(batch: readonly SampleRequest[], wait = (_: SampleRequest) => 0): AsyncGenerator<SampledAnswer> {
  for (const request of batch) {
    for (let turn = wait(request); turn > 0; turn--) await new Promise(setImmediate);
    yield { request, completion: keyOf(request), finish_reason: 'stop' };
  }
}

const all = async <T>(rows: AsyncIterable<T>) => {
  const found: T[] = [];
  for await (const row of rows) found.push(row);
  return found;
};

it('answers each prompt once per seed', async () => {
  const rows = await all(sampleAnswers({ prompts, seeds: [13, 21], source: 'gemma', sample: (batch) => echo(batch) }));
  expect(rows.map(keyOf)).toEqual(['a13', 'a21', 'b13', 'b21', 'c13', 'c21']);
  expect(rows[2]).toEqual({
    prompt_id: 'b',
    prompt: [{ role: 'user', content: 'two' }],
    completion: 'b13',
    source: 'gemma',
    seed: 13,
    finish_reason: 'stop',
  });
});

it('batches the requests that are not done', async () => {
  const batches: string[][] = [];
  const sample = (batch: readonly SampleRequest[]) => {
    batches.push(batch.map(keyOf));
    return echo(batch);
  };
  const isDone = ({ prompt_id, seed }: SampleRequest) => prompt_id === 'b' && seed === 21;
  await all(sampleAnswers({ prompts, seeds: [13, 21], source: 'm', sample, isDone, batchSize: 2 }));
  expect(batches).toEqual([['a13', 'a21'], ['b13', 'c13'], ['c21']]);
});

it('yields a quick answer before a slow one that started earlier', async () => {
  const slow = (batch: readonly SampleRequest[]) => echo(batch, ({ prompt_id }) => (prompt_id === 'a' ? 20 : 1));
  const rows = await all(sampleAnswers({ prompts, seeds: [1], source: 'm', sample: slow, concurrency: 2 }));
  expect(rows.map(keyOf)).toEqual(['b1', 'c1', 'a1']);
});

test.prop([fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 4 }), fc.array(fc.nat({ max: 5 }))])(
  'answers each request once, with at most `concurrency` batches at a time',
  async (concurrency, batchSize, waits) => {
    let [now, most, asked] = [0, 0, 0];
    async function* sample(batch: readonly SampleRequest[]) {
      most = Math.max(most, ++now);
      yield* echo(batch, () => 3 + (waits[asked++] ?? 0));
      now -= 1;
    }
    const seeds = [1, 2, 3];
    const rows = await all(sampleAnswers({ prompts, seeds, source: 'm', sample, concurrency, batchSize }));
    expect(rows.map(keyOf).sort()).toEqual(['a1', 'a2', 'a3', 'b1', 'b2', 'b3', 'c1', 'c2', 'c3']);
    expect(most).toBe(Math.min(concurrency, Math.ceil(9 / batchSize)));
  },
);

async function* failing(batch: readonly SampleRequest[]) {
  for (const request of batch) {
    if (request.prompt_id === 'b') throw new Error('no b');
    yield* echo([request]);
  }
}

it('reports failed batches to onError and continues with the rest', async () => {
  const failed: string[] = [];
  const onError = (error: unknown, batch: readonly SampleRequest[]) =>
    failed.push(`${(error as Error).message}: ${batch.map(keyOf)}`);
  const rows = await all(sampleAnswers({ prompts, seeds: [1, 2], source: 'm', sample: failing, onError }));
  expect(rows.map(keyOf)).toEqual(['a1', 'a2', 'c1', 'c2']);
  expect(failed).toEqual(['no b: b1', 'no b: b2']);
});

it('throws the first failure without onError, after the answers of the running batches', async () => {
  const rows: string[] = [];
  const sample = (batch: readonly SampleRequest[]) =>
    batch[0]!.prompt_id === 'a' ? echo(batch, () => 20) : failing(batch);
  const run = async () => {
    for await (const row of sampleAnswers({ prompts, seeds: [1], source: 'm', sample, concurrency: 2 })) {
      rows.push(keyOf(row));
    }
  };
  await expect(run()).rejects.toThrow('no b');
  expect(rows).toEqual(['a1']); // c did not start
});

it('starts nothing after an abort, and yields the answers that were running', async () => {
  const stop = new AbortController();
  const [begun, rows]: [string[], string[]] = [[], []];
  const sample = (batch: readonly SampleRequest[]) => {
    if (stop.signal.aborted) begun.push('after the abort');
    begun.push(...batch.map(keyOf));
    return echo(batch, ({ seed }) => seed);
  };
  const options = { prompts, seeds: [1, 9], source: 'm', sample, concurrency: 2, signal: stop.signal };
  for await (const row of sampleAnswers(options)) {
    rows.push(keyOf(row));
    stop.abort();
  }
  expect(rows.sort()).toEqual(begun.sort());
  expect(begun).toContain('a9'); // slow, and running at the abort
  expect(begun.length).toBeLessThan(6);
});

it('leaves nothing running if the consumer stops early', async () => {
  let running = 0;
  async function* sample(batch: readonly SampleRequest[]) {
    running += 1;
    try {
      yield* echo(batch, () => 3);
    } finally {
      running -= 1;
    }
  }
  for await (const _ of sampleAnswers({ prompts, seeds: [1, 2], source: 'm', sample, concurrency: 3 })) break;
  expect(running).toBe(0);
});
