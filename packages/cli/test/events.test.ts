import '@wpo/tensorflow';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import type { WpoEvent } from '../src/index';
import { goldenConfig, readMetrics, temporaryFolder } from './golden';
import { wpo } from './wpo';

/** Runs a command with --json. */
async function eventsOf(...args: string[]) {
  const { status, out, err } = await wpo(...args, '--json');
  expect(out.endsWith('\n')).toBe(true);
  return {
    status,
    err,
    events: out
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as WpoEvent),
  };
}

const shown = (event: WpoEvent) =>
  'step' in event && event.type !== 'result' ? `${event.type} ${event.step}` : event.type;
const set = (...values: string[]) => values.flatMap((value) => ['--set', value]);

test('wpo train --json prints each event as a line, and everything else to stderr', async () => {
  const folder = temporaryFolder();
  const settings = set('eval_split=0.25', 'max_steps=3', 'save_steps=2', 'report_samples=0');
  const { status, events, err } = await eventsOf('train', goldenConfig(folder), ...settings);
  expect(status).toBe(0);
  expect(events.map(shown).join(', ')).toBe(
    'run, start 0, evaluation 0, step 1, checkpoint 2, step 2, evaluation 3, checkpoint 3, step 3, result, end',
  );
  const run = join(folder, 'run');
  expect(events[0]).toEqual({ type: 'run', outputDir: run, pairs: 12, heldOut: 4 });
  const rows = readMetrics(run).map(({ step_seconds, tokens_per_second, memory_bytes, ...row }) => row);
  for (const event of events) {
    if (event.type !== 'step' && event.type !== 'evaluation') continue;
    const { step_seconds, tokens_per_second, memory_bytes, ...found } = event.metrics;
    expect(rows).toContainEqual(found);
  }
  expect(events.at(-2)).toEqual({
    ...{ type: 'result', model: join(run, 'model'), step: 3, totalSteps: 3, epoch: 1, stopped: false },
    ...{
      tokens: rows.find(({ step, loss }) => step === 3 && loss)!.num_tokens,
      skippedSteps: 0,
      best: null,
      collapse: null,
      restoredStep: null,
    },
  });
  expect(events.at(-1)).toEqual({ type: 'end', status: 0 });
  expect(err).toContain('train 3/3  loss');
  expect(err).toContain('Training on 12 pairs, 4 held out');

  const again = await eventsOf('train', goldenConfig(folder), '--resume', ...settings);
  expect(again.events).toEqual([{ type: 'end', status: 0 }]);
  expect(again.err).toContain('This run is finished.');
});

test.each([
  [['train', 'missing.yaml'], /^missing\.yaml: expected /, 1],
  [['train', 'missing.yaml', '--resumee'], /^--resumee: unknown flag\./, 1],
  [['run'], /^expected the path of a YAML file after the command, found nothing\.$/, 1],
])('an error of wpo %j is the last event', async (args, message, expected) => {
  const { status, events, err } = await eventsOf(...args);
  expect(status).toBe(expected);
  expect(events).toEqual([{ type: 'error', message: expect.stringMatching(message), status: expected }]);
  expect(err).toContain((events[0] as { message: string }).message);
});

test('a control character in an event is an escape of JSON', async () => {
  const name = 'bell\u0007\u009b.yaml';
  const { out } = await wpo('train', name, '--json');
  expect(out).toContain('bell\\u0007\\u009b.yaml');
  expect(JSON.parse(out).type).toBe('error');
});

test('docs/events.md lists every type of event', () => {
  const page = readFileSync(fileURLToPath(new URL('../../../docs/events.md', import.meta.url)), 'utf8');
  const types = {
    stage: 0,
    run: 0,
    start: 0,
    answers: 0,
    step: 0,
    evaluation: 0,
    checkpoint: 0,
    warning: 0,
    result: 0,
    error: 0,
    end: 0,
  };
  const complete: Record<WpoEvent['type'], number> = types;
  for (const type of Object.keys(complete)) expect(page).toContain(`\n| \`${type}\``);
});
