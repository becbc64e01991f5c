import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { runWithin } from '../gpu';
import { row } from '../report';

const part = (name: 'check' | 'lora-2b' | 'generate-2b' | 'lora-9b', seconds: number, run: () => Promise<void>) => ({
  name,
  seconds,
  run: async () => {
    await run();
    return { rows: [row(name, 's', 'less', 1)], turns: [] };
  },
});

test('parts run in order while there is time for them; the others are reported with their command', async () => {
  const ran: string[] = [];
  const done = (name: string) => async () => void ran.push(name);
  const { measured, notRun } = await runWithin(
    5,
    [part('check', 1, done('check')), part('lora-2b', 60, done('lora-2b')), part('lora-9b', 1, done('lora-9b'))],
    { peer: 'python3' },
    () => {},
  );
  expect(ran).toEqual(['check', 'lora-9b']);
  expect(measured.rows.map(({ of }) => of)).toEqual(['check', 'lora-9b']);
  expect(notRun).toEqual([
    expect.stringMatching(
      /^lora-2b: not started: it takes up to 60 s, and 4 s were left\. Run it: npm run bench -- --gpu --only lora-2b --peer python3$/,
    ),
  ]);
});

test('a part that fails, or that is not done at the end of the time, does not stop the report', async () => {
  const fails = part('check', 0, () => Promise.reject(new Error('TRL exited with status 1\nCUDA out of memory')));
  const slow = part('lora-2b', 0, () => sleep(5000));
  const { measured, notRun } = await runWithin(
    0.2,
    [fails, slow, part('lora-9b', 0.1, async () => {})],
    { peer: undefined },
    () => {},
  );
  expect(measured.rows).toEqual([]);
  expect(notRun.map((line) => line.split('. Run it')[0])).toEqual([
    'check: TRL exited with status 1 | CUDA out of memory',
    'lora-2b: stopped after 0 s, at the end of the time',
    expect.stringMatching(/^lora-9b: not started/),
    'TRL + PEFT: no --peer was given',
  ]);
});
