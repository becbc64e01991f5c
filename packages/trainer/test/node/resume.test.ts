import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { textLines } from '@wpo/internal/lines';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { TrainEvent } from '../../src';
import { toyRun } from './toy-run';

type Run = Awaited<ReturnType<typeof toyRun>>;

const folders: string[] = [];
const newFolder = async () => {
  const folder = await mkdtemp(join(tmpdir(), 'wpo-trainer-'));
  folders.push(folder);
  return folder;
};
const checkpointsIn = async (folder: string) =>
  (await readdir(folder)).filter((name) => !name.endsWith('.jsonl')).sort();

let whole: Run;
beforeAll(async () => {
  whole = await toyRun(await newFolder());
  expect(whole.rows.map((row) => row.step)).toEqual([2, 3, 4, 6, 6, 8, 8]);
});
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true });
});

/** Compares weights, optimizer state, metrics and the log of pairs bit for bit. */
function expectSame(run: Run): void {
  expect(run.values).toEqual(whole.values);
  expect(run.state).toEqual(whole.state);
  expect(run.rows).toEqual(whole.rows);
  expect(run.loggedPairs).toBe(whole.loggedPairs);
  expect(run.result).toEqual(whole.result);
}

/** Runs until the step `last`, then stops as a signal does. */
async function stopAfter(folder: string, last: number, more: Parameters<typeof toyRun>[1] = {}) {
  const controller = new AbortController();
  return toyRun(folder, { signal: controller.signal, ...more }, (event) => {
    if (event.type === 'step' && event.step === last) controller.abort();
  });
}

test.each([1, 2, 3, 5, 7])('a run stopped after step %d and resumed ends like one that never stopped', async (last) => {
  const folder = await newFolder();
  const { result } = await stopAfter(folder, last);
  expect(result).toMatchObject({ step: last, stopped: true });
  expectSame(await toyRun(folder, { resume: true }));
});

test.each([1, 3, 7, 9, 10, 20])('so does a run whose reader leaves at event %d', async (last) => {
  const folder = await newFolder();
  let events = 0;
  const left = toyRun(folder, {}, () => {
    events += 1;
    if (events === last) throw new Error('left');
  });
  await expect(left).rejects.toThrow('left');
  expectSame(await toyRun(folder, { resume: true }));
});

test('a run stopped and resumed after every step ends like one that never stopped', async () => {
  const folder = await newFolder();
  for (let step = 1; step < 8; step++) await stopAfter(folder, step, { resume: step > 1 });
  expectSame(await toyRun(folder, { resume: true }));
});

test('a stop saves a checkpoint even where none was due', async () => {
  const folder = await newFolder();
  await stopAfter(folder, 3, { saveSteps: 0 });
  expect(await checkpointsIn(folder)).toEqual(['checkpoint-3']);
  expectSame(await toyRun(folder, { resume: true, saveSteps: 0 }));
  expect(await checkpointsIn(folder)).toEqual(['checkpoint-3', 'checkpoint-8']);
});

test('a stop during a long step gives the step up, and the resumed run takes it again', async () => {
  const folder = await newFolder();
  let reads = 0;
  // aborted before the second micro-batch of step 4: one read per step in the loop, and one before each of its micro-batches
  const signal = {
    get aborted() {
      reads += 1;
      return reads > 10;
    },
  };
  const steps: number[] = [];
  const { result } = await toyRun(folder, { signal, evalSteps: 0, saveSteps: 0 }, (event) => {
    if (event.type === 'step') steps.push(event.step);
  });
  expect(result).toMatchObject({ step: 3, stopped: true });
  expect(steps).toEqual([1, 2, 3]);
  expect(await checkpointsIn(folder)).toEqual(['checkpoint-3']);
  const { values } = await toyRun(folder, { resume: true, evalSteps: 0, saveSteps: 0 });
  expect(values).toEqual(whole.values);
});

test('an evaluation interrupted by a stop is repeated after the resume', async () => {
  const folder = await newFolder();
  let reads = 0;
  // aborted from the second read during the evaluation after step 3
  const signal = {
    get aborted() {
      reads += 1;
      return reads >= 10;
    },
  };
  const { result, rows } = await toyRun(folder, { signal });
  expect(result).toMatchObject({ step: 3, stopped: true });
  expect(rows.map((row) => row.step)).toEqual([2]);
  expectSame(await toyRun(folder, { resume: true }));
});

test('resuming a finished run changes nothing', async () => {
  const folder = await newFolder();
  await toyRun(folder);
  expectSame(await toyRun(folder, { resume: true }));
});

test('a resume without a checkpoint starts from the beginning and warns', async () => {
  const run = await toyRun(await newFolder(), { resume: true });
  expectSame(run);
  expect(run.warnings).toEqual(['no checkpoint to resume from: training starts from the beginning']);
});

test('a new run does not write into the folder of another', async () => {
  const folder = await newFolder();
  await stopAfter(folder, 2);
  const rows = await readFile(join(folder, 'metrics.jsonl'), 'utf8');
  await expect(toyRun(folder)).rejects.toThrow(
    `${join(folder, 'checkpoint-2')}: expected no checkpoint of an earlier run`,
  );
  expect(await readFile(join(folder, 'metrics.jsonl'), 'utf8')).toBe(rows);
});

test('a run with other settings is not resumed, and the error names each difference', async () => {
  const folder = await newFolder();
  await stopAfter(folder, 2, { fingerprint: { beta: 0.5, seed: 1 } });
  const other = toyRun(folder, { resume: true, learningRate: 0.1, fingerprint: { beta: 0.1, seed: 1 } });
  await expect(other).rejects.toThrow(
    'learning_rate: expected 0.05, found 0.1 (it may only be lowered); beta: expected 0.5, found 0.1.',
  );
});

describe('what a resumed run may change', () => {
  const constant = { schedule: 'constant', warmupRatio: 0, evalSteps: 0, loggingSteps: 1 } as const;

  test('a finished run is extended by more steps, and says so', async () => {
    const long = await toyRun(await newFolder(), { ...constant, maxSteps: 11 });
    const folder = await newFolder();
    await toyRun(folder, { ...constant, maxSteps: 8 });
    const { warnings, ...extended } = await toyRun(folder, { ...constant, maxSteps: 11, resume: true });
    expect({ ...extended, warnings: [] }).toEqual(long);
    expect(warnings).toEqual([
      `resuming from ${join(folder, 'checkpoint-8')} with other settings: total_steps: 8 → 11`,
      'The learning rate was 0.05 at step 8 and is 0.05 at step 9. From here on it follows the schedule of a run planned with ' +
        'these settings: constant, 11 steps, warm-up 0, peak 0.05.',
    ]);
  });

  test('fewer steps are refused', async () => {
    const folder = await newFolder();
    await toyRun(folder, constant);
    await expect(toyRun(folder, { ...constant, maxSteps: 7, resume: true })).rejects.toThrow(
      'total_steps: expected 8, found 7 (it may only be raised)',
    );
  });

  test('a lower learning rate counts from the checkpoint on', async () => {
    const folder = await newFolder();
    const { rows: before } = await stopAfter(folder, 3, constant);
    const { rows, warnings } = await toyRun(folder, { ...constant, learningRate: 0.025, resume: true });
    expect(rows.slice(0, 3)).toEqual(before);
    expect(rows.map((row) => row.learning_rate)).toEqual([0.05, 0.05, 0.05, ...Array(5).fill(0.025)]);
    expect(warnings[0]).toContain('learning_rate: 0.05 → 0.025');
  });
});

test('missing rows of metrics.jsonl are restored from the checkpoint, with a warning', async () => {
  const folder = await newFolder();
  await stopAfter(folder, 4);
  await rm(join(folder, 'metrics.jsonl'));
  expectSame(await toyRun(folder, { resume: true }));
});

test('random numbers continue from their saved state', async () => {
  const drawing = () => {
    let drawn = 0;
    const seen: number[] = [];
    const load = (state: unknown) => {
      drawn = state as number;
    };
    const random = { state: () => drawn, load };
    const onEvent = ({ type }: TrainEvent) => {
      if (type !== 'step') return;
      drawn += 1;
      seen.push(drawn);
    };
    return { random, seen, onEvent };
  };
  const folder = await newFolder();
  const first = drawing();
  await toyRun(folder, { random: first.random, saveSteps: 3 }, first.onEvent);
  await rm(join(folder, 'checkpoint-8'), { recursive: true });
  const second = drawing();
  await toyRun(folder, { resume: true, random: second.random, saveSteps: 3 }, second.onEvent);
  // saved at step 6, before the sixth draw: drawn 5 times
  expect(second.seen).toEqual([6, 7]);
});

describe('a damaged checkpoint gives a warning, and the checkpoint before it is resumed', () => {
  const damages: [string, (checkpoint: string) => Promise<void>, string][] = [
    ['truncated weights', (path) => truncate(join(path, 'model.safetensors'), 100), 'model.safetensors: expected'],
    [
      'no optimizer state',
      (path) => rm(join(path, 'optimizer.safetensors')),
      'optimizer.safetensors: expected a file, found no such file',
    ],
    ['no manifest', (path) => rm(join(path, 'manifest.json')), 'manifest.json: expected a file, found no such file'],
    [
      'an empty manifest',
      (path) => writeFile(join(path, 'manifest.json'), '{}'),
      'manifest.json: expected the text that its checksum belongs to',
    ],
    [
      'a changed digit in the weights',
      async (path) => {
        const file = join(path, 'model.safetensors');
        const text = await readFile(file, 'utf8');
        await writeFile(
          file,
          text.replace(/\d(?=\D*$)/, (digit) => String((Number(digit) + 1) % 10)),
        );
      },
      'model.safetensors: expected SHA-256',
    ],
  ];
  test.each(damages)('%s', async (_, damage, message) => {
    const folder = await newFolder();
    await stopAfter(folder, 4);
    await damage(join(folder, 'checkpoint-4'));
    const run = await toyRun(folder, { resume: true });
    expectSame(run);
    expect(run.warnings).toHaveLength(1);
    expect(run.warnings[0]).toContain(`cannot resume from ${join(folder, 'checkpoint-4')}`);
    expect(run.warnings[0]).toContain(message);
  });

  test('without an undamaged checkpoint, the run does not start', async () => {
    const folder = await newFolder();
    await stopAfter(folder, 1);
    await rm(join(folder, 'checkpoint-1', 'trainer_state.json'));
    const run = toyRun(folder, { resume: true });
    await expect(run).rejects.toThrow('expected a readable checkpoint, found 1 damaged ones');
  });
});

describe('in a separate process', () => {
  const script = fileURLToPath(new URL('./toy-child.mjs', import.meta.url));

  /** A run that prints its progress and waits after it has printed `waitFor`. */
  function start(folder: string, waitFor: string, until = '') {
    const child = spawn(process.execPath, [script, folder, waitFor, until], { stdio: ['ignore', 'pipe', 'pipe'] });
    const ended = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
    const lines = textLines(child.stdout);
    let errors = '';
    child.stderr.on('data', (piece) => {
      errors += piece;
    });
    return {
      ended,
      kill: (signal: NodeJS.Signals) => child.kill(signal),
      async printed(text: string) {
        for (let line = await lines.next(); !line.done; line = await lines.next()) if (line.value === text) return;
        throw new Error(`the run ended before it printed "${text}":\n${errors}`);
      },
    };
  }

  async function killAt(folder: string, line: string): Promise<void> {
    const run = start(folder, line);
    await run.printed(line);
    run.kill('SIGKILL');
    expect(await run.ended).toEqual([null, 'SIGKILL']);
  }

  test('a run killed after step 3 of 8 and resumed ends like one that never stopped', async () => {
    const folder = await newFolder();
    await killAt(folder, 'step 3');
    expect(await checkpointsIn(folder)).toEqual(['checkpoint-2', 'checkpoint-3']);
    expectSame(await toyRun(folder, { resume: true }));
  });

  test('so does a run killed twice while it writes a checkpoint', async () => {
    const folder = await newFolder();
    await killAt(folder, 'wrote checkpoint-4.tmp model.safetensors');
    expect(await checkpointsIn(folder)).toEqual(['checkpoint-2', 'checkpoint-3', 'checkpoint-4.tmp']);
    await killAt(folder, 'wrote checkpoint-6.tmp optimizer.safetensors');
    expect(await checkpointsIn(folder)).toEqual(['checkpoint-4', 'checkpoint-5', 'checkpoint-6.tmp']);
    expectSame(await toyRun(folder, { resume: true }));
    expect(await checkpointsIn(folder)).toEqual(['checkpoint-7', 'checkpoint-8']);
  });

  test.each(['SIGTERM', 'SIGINT'] as const)('%s finishes the current step, saves it and returns', async (name) => {
    const folder = await newFolder();
    const place = 'wrote checkpoint-3.tmp model.safetensors';
    const run = start(folder, place, 'signal');
    await run.printed(place);
    run.kill(name);
    await run.printed(`got ${name}`);
    await run.printed(
      '{"step":3,"totalSteps":8,"epoch":1,"tokens":113,"stopped":true,"skippedSteps":0,"best":null,"collapse":null,"restoredStep":null}',
    );
    expect(await run.ended).toEqual([0, null]);
    expect(await checkpointsIn(folder)).toEqual(['checkpoint-2', 'checkpoint-3']);
    expectSame(await toyRun(folder, { resume: true }));
  });

  test('a second signal ends the process at once', async () => {
    const folder = await newFolder();
    const run = start(folder, 'step 2');
    await run.printed('step 2');
    run.kill('SIGTERM');
    await run.printed('got SIGTERM');
    run.kill('SIGTERM');
    expect(await run.ended).toEqual([null, 'SIGTERM']);
    expectSame(await toyRun(folder, { resume: true }));
  });
});
