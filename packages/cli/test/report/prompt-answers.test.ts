import '@wpo/tensorflow';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { SampledAnswers } from '@wpo/report';
import { expect, test } from 'vitest';
import { readTrainConfig, type Terminal, train, type WpoEvent } from '../../src/index';
import { goldenConfig, readMetrics, temporaryFolder, timeless } from '../golden';
import { capture } from '../wpo';

const RIVER = 'What is a river?';

/** Trains with answers, and returns what they are in the folder, the events and the terminal. */
async function answered(
  folder: string,
  set: readonly string[],
  options: { resume?: boolean; on?: Terminal['onEvent'] } = {},
) {
  const terminal = capture();
  const events: WpoEvent[] = [];
  const onEvent = (event: WpoEvent) => {
    events.push(event);
    options.on?.(event);
  };
  const settings = ['lr_scheduler_type=constant', 'warmup_ratio=0', 'save_steps=1', 'eval_steps=2', ...set];
  const config = await readTrainConfig(goldenConfig(folder), settings);
  const status = await train(config, { resume: options.resume }, { ...terminal, onEvent });
  const run = join(folder, 'run');
  const answers = JSON.parse(readFileSync(join(run, 'report', 'answers.json'), 'utf8')) as SampledAnswers[];
  expect(events.at(-1)!.type).toBe('result'); // when everything else is written
  const recorded = events.flatMap((event) => (event.type === 'answers' ? [event] : []));
  return {
    status,
    run,
    answers,
    recorded,
    err: terminal.err(),
    weights: readFileSync(join(run, 'model/model.safetensors')),
  };
}

const stepsOf = ({ answers }: SampledAnswers) => answers.map(({ step }) => step);

test('eval_prompts are answered before training, every eval_steps steps and at the end, and change nothing else', async () => {
  const folder = temporaryFolder();
  writeFileSync(join(folder, 'prompts.jsonl'), '{"prompt": "Name a fruit."}\n');
  const set = ['max_steps=3', `eval_prompts=["${RIVER}"]`, `eval_prompts_file=${join(folder, 'prompts.jsonl')}`];
  const { status, run, answers, recorded, err, weights } = await answered(folder, set);
  expect(status).toBe(0);
  expect(answers.map(({ prompt }) => prompt)).toEqual([RIVER, 'Name a fruit.']);
  for (const one of answers) expect(stepsOf(one)).toEqual([0, 2, 3]);
  const texts = (step: number) =>
    answers.map(({ prompt, answers }) => ({ prompt, text: answers.find((one) => one.step === step)!.text }));
  expect(recorded).toEqual([0, 2, 3].map((step) => ({ type: 'answers', step, answers: texts(step) })));
  expect(err).toContain(`before training: ${RIVER} → ${texts(0)[0]!.text.slice(0, 10)}`);
  expect(err).toContain(`after step 2: ${RIVER} → `);
  expect(readFileSync(join(run, 'report.html'), 'utf8')).toContain(`{"prompt":"${RIVER}","answers":[{"step":0,"text":`);

  const other = temporaryFolder();
  const without = ['lr_scheduler_type=constant', 'warmup_ratio=0', 'save_steps=1', 'max_steps=3'];
  expect(await train(await readTrainConfig(goldenConfig(other), without), {}, capture())).toBe(0);
  expect(readFileSync(join(other, 'run/model/model.safetensors')).equals(weights)).toBe(true);
  expect(timeless(readMetrics(join(other, 'run')))).toEqual(timeless(readMetrics(run)));
});

test('a resumed run keeps its answers from before training, and answers each later step once', async () => {
  const whole = await answered(temporaryFolder(), ['max_steps=4', 'eval_split=2', `eval_prompts=${RIVER}`]);
  expect(whole.answers.map(stepsOf)).toEqual([
    [0, 4],
    [0, 4],
    [0, 2, 4],
  ]);

  const folder = temporaryFolder();
  const set = ['eval_split=2', `eval_prompts=${RIVER}`];
  const first = await answered(folder, [...set, 'max_steps=3']);
  expect(first.answers.map(stepsOf)).toEqual([
    [0, 3],
    [0, 3],
    [0, 2, 3],
  ]);
  const marked = first.answers.map(({ prompt, answers }) => ({
    prompt,
    answers: [{ step: 0, text: 'kept' }, ...answers.slice(1), { step: 4, text: 'from a step that is taken again' }],
  }));
  writeFileSync(join(folder, 'run', 'report', 'answers.json'), JSON.stringify(marked));
  const second = await answered(folder, [...set, 'max_steps=4'], { resume: true });
  expect(second.recorded.map(({ step }) => step)).toEqual([4, 4]);
  const last = ({ answers }: SampledAnswers) => answers.at(-1);
  expect(second.answers.map(last)).toEqual(whole.answers.map(last));
  for (const { answers } of second.answers) expect(answers[0]).toEqual({ step: 0, text: 'kept' });
});

test.each([
  [['eval_prompts=["x"]', 'eval_prompts_file=none.jsonl'], /none\.jsonl/],
  [
    [`eval_prompts=["a", "${'river '.repeat(600)}"]`],
    /^eval_prompts:2: expected a prompt of at most 512 tokens, found \d+\. Shorten it\.$/,
  ],
])('prompts that cannot be answered stop the run before the model is loaded: %#', async (set, message) => {
  const config = await readTrainConfig(goldenConfig(temporaryFolder()), set);
  const terminal = capture();
  await expect(train(config, {}, terminal)).rejects.toThrow(message);
  expect(terminal.out()).toBe('');
});
