import '@wpo/tensorflow';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { goldenConfig, readMetrics, temporaryFolder, trainFrom } from '../golden';
import { capture } from '../wpo';
import { type Point, pointsIn } from './event-files';

const sorted = (points: readonly Point[]) =>
  points
    .map(({ tag, step, value }) => `${tag} ${step} ${value}`)
    .sort()
    .join('\n');

/** The rows of `metrics.jsonl` as points. TensorBoard has float32. */
const expectedPoints = (run: string): Point[] =>
  readMetrics(run).flatMap(({ step, ...row }) =>
    Object.entries(row).map(([tag, value]) => ({ tag, step: step!, value: Math.fround(value) })),
  );

/** What TensorBoard's reader finds in a folder; undefined without a Python that has it. */
function pointsOfTensorboard(folder: string): Point[] | undefined {
  const script = `
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1], size_guidance={'scalars': 0})
events.Reload()
print(json.dumps([dict(tag=tag, step=p.step, value=p.value) for tag in events.Tags()['scalars'] for p in events.Scalars(tag)]))
`;
  const python = process.env.WPO_PYTHON || 'python3';
  const { status, stdout, stderr } = spawnSync(python, ['-c', script, folder], { encoding: 'utf8' });
  if (/No module named 'tensorboard'/.test(stderr ?? '') || status === null) return undefined;
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as Point[];
}

test('report_to: tensorboard writes each metric as a point, and a resumed run has each step once', async ({ skip }) => {
  const folder = temporaryFolder();
  const run = join(folder, 'run');
  const set = ['eval_split=0.25', 'report_samples=0', 'lr_scheduler_type=constant', 'warmup_ratio=0'];
  const start = (steps: number, resume: boolean) => {
    const settings = [...set, `max_steps=${steps}`, 'report_to=tensorboard'];
    return trainFrom({ config: goldenConfig(folder), set: settings, resume }, capture());
  };
  await start(2, false);
  const board = join(run, 'tensorboard');
  expect(sorted(pointsIn(board))).toBe(sorted(expectedPoints(run)));
  await start(3, true);
  expect(readdirSync(board)).toHaveLength(1);
  const points = pointsIn(board);
  expect(sorted(points)).toBe(sorted(expectedPoints(run)));
  expect(points.filter(({ tag }) => tag === 'loss').map(({ step }) => step)).toEqual([1, 2, 3]);
  expect(points.filter(({ tag }) => tag === 'eval_loss').map(({ step }) => step)).toEqual([0, 2, 3]);

  const read = pointsOfTensorboard(board);
  if (read === undefined) return skip('WPO_PYTHON or python3 has no package tensorboard: its own reader is not tried');
  expect(sorted(read)).toBe(sorted(points));
});

test('without report_to there are no event files', async () => {
  const folder = temporaryFolder();
  await trainFrom({ config: goldenConfig(folder), set: ['max_steps=1'] }, capture());
  expect(existsSync(join(folder, 'run', 'tensorboard'))).toBe(false);
});
