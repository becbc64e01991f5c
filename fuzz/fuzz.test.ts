import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { buildFamilies, families, runFamily } from './run.mjs';

const LONG = 600_000;

beforeAll(buildFamilies, LONG);

// `npm run fuzz` runs more cases, with a seed of its own
test.each(families)(
  '%s: hostile inputs are read right or refused with a plain error',
  async (name) => {
    const { counts } = await runFamily(name, { seed: 1, cases: 400 });
    expect(Object.keys(counts).length, 'the family counts outcomes').toBeGreaterThan(0);
  },
  LONG,
);

describe('the harness reports', () => {
  afterEach(() => {
    delete process.env.WPO_FAULT;
  });

  test.each([
    ['failure', /the property does not hold/],
    ['hang', /case 2 took more than 0.5 s/],
    ['wait', /case 2 took more than 0.5 s/],
    ['crash', /case 2 ended the process with SIGABRT/],
    ['rejection', /case 2 ended the process with exit code 1.*nobody handles this/s],
    ['memory', /case 2 took \d+ MB of memory, more than 300 MB/],
  ])('a %s', async (fault, message) => {
    process.env.WPO_FAULT = fault;
    await expect(runFamily('faulty', { seed: 1, cases: 5 })).rejects.toThrow(message);
  });

  test('the counts of cases that pass', async () => {
    process.env.WPO_FAULT = 'none';
    expect((await runFamily('faulty', { seed: 1, cases: 5 })).counts).toEqual({ ran: 5 });
  });
});
