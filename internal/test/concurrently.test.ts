import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { concurrently, forEachConcurrently } from '../src/concurrently';

describe('concurrently', () => {
  test('yields each result when it is ready, and never runs more tasks than allowed', async () => {
    let running = 0;
    let most = 0;
    const results: number[] = [];
    const work = concurrently(
      [30, 1, 1, 1],
      async function* (ms) {
        most = Math.max(most, ++running);
        await sleep(ms);
        running -= 1;
        yield ms;
      },
      { concurrency: 2 },
    );
    for await (const result of work) results.push(result);
    expect(results).toEqual([1, 1, 1, 30]);
    expect(most).toBe(2);
  });

  test('throws the first failure after the results of the running tasks, and starts no further task', async () => {
    const started: number[] = [];
    const results: number[] = [];
    const work = concurrently(
      [0, 1, 2, 3],
      async function* (task) {
        started.push(task);
        await sleep(task === 0 ? 1 : 10);
        if (task === 0) throw new Error('broken');
        yield task;
      },
      { concurrency: 2 },
    );
    await expect(
      (async () => {
        for await (const result of work) results.push(result);
      })(),
    ).rejects.toThrow('broken');
    expect([started, results]).toEqual([[0, 1], [1]]);
  });

  test('skips failed tasks with onError, and ends if its consumer stops or a signal is aborted', async () => {
    const failed: number[] = [];
    const run = async function* (task: number) {
      if (task === 1) throw new Error('broken');
      yield task;
    };
    const all: number[] = [];
    for await (const result of concurrently([0, 1, 2], run, { onError: (_, task) => failed.push(task) }))
      all.push(result);
    expect([all, failed]).toEqual([[0, 2], [1]]);
    for await (const result of concurrently([0, 2, 3], run)) {
      expect(result).toBe(0);
      break;
    }
    const signal = { aborted: false };
    const before: number[] = [];
    for await (const result of concurrently([0, 2, 3], run, { signal })) {
      before.push(result);
      signal.aborted = true;
    }
    expect(before.length).toBeLessThan(3);
  });
});

describe('forEachConcurrently', () => {
  test('runs every task, at most as many at once as allowed', async () => {
    let running = 0;
    let most = 0;
    const done: number[] = [];
    await forEachConcurrently([1, 2, 3, 4, 5], 2, async (item) => {
      most = Math.max(most, ++running);
      await sleep(2);
      running -= 1;
      done.push(item);
    });
    expect(done.sort()).toEqual([1, 2, 3, 4, 5]);
    expect(most).toBe(2);
  });

  test('reports a failure at once, lets running tasks finish, and starts no further task', async () => {
    const events: string[] = [];
    const work = forEachConcurrently(
      ['fails', 'runs', 'waits'],
      2,
      async (item) => {
        events.push(item);
        if (item === 'fails') throw new Error('broken');
        await sleep(5);
        events.push('finished');
      },
      (error) => events.push((error as Error).message),
    );
    await expect(work).rejects.toThrow('broken');
    expect(events).toEqual(['fails', 'runs', 'broken', 'finished']);
  });
});
