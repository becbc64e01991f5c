import '@wpo/tensorflow';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { SampleRow } from '../../src/index';
import { modelFolder, temporaryFolder } from '../golden';
import { readRows, startWpo, wpo, writeRows } from '../wpo';

const questions = ['Why?', 'What does a compiler do?', 'Name three rivers in Europe.', 'How?'];

function files() {
  const folder = temporaryFolder();
  const [prompts, out] = [join(folder, 'prompts.jsonl'), join(folder, 'answers.jsonl')];
  writeRows(
    prompts,
    questions.map((prompt) => ({ prompt, prompt_id: prompt })),
  );
  return { prompts, out };
}
const flags = ({ prompts, out }: ReturnType<typeof files>, ...more: string[]) => [
  'sample',
  '--model',
  modelFolder,
  '--prompts',
  prompts,
  '--out',
  out,
  '--max-new-tokens',
  '12',
  ...more,
];

const texts = (rows: readonly SampleRow[]) =>
  Object.fromEntries(rows.map(({ prompt_id, seed, completion }) => [`${prompt_id} ${seed}`, completion]));

test('a local model samples the same answers in batches as alone, each with its own seed', async () => {
  const [together, alone] = [files(), files()];
  expect(await wpo(...flags(together, '--seeds', '13,21', '--temperature', '2'))).toMatchObject({ status: 0 });
  expect(await wpo(...flags(alone, '--seeds', '13,21', '--temperature', '2', '--batch-size', '1'))).toMatchObject({
    status: 0,
  });
  const rows = readRows<SampleRow>(together.out);
  expect(rows).toHaveLength(8);
  expect(texts(rows)).toEqual(texts(readRows(alone.out)));
  expect(texts(rows)['Why? 13']).not.toBe(texts(rows)['Why? 21']);
  for (const { source, finish_reason, completion } of rows) {
    expect(source).toBe(modelFolder);
    expect(['stop', 'length']).toContain(finish_reason);
    expect(completion).not.toContain('<end_of_turn>');
  }
});

test('wpo generate writes the same answer with the same seed', async () => {
  const at = files();
  await wpo(...flags(at, '-n', '1', '--temperature', '0.9', '--top-p', '0.9'));
  const { out } = await wpo(
    ...['generate', '--model', modelFolder, '--prompt', 'Why?', '--seed', '13', '--max-new-tokens', '12'],
    ...['--temperature', '0.9', '--top-p', '0.9'],
  );
  expect(`${texts(readRows(at.out))['Why? 13']}\n`).toBe(out);
});

test('a killed and resumed run writes the same answers as an uninterrupted one', async () => {
  const [whole, killed] = [files(), files()];
  const more = ['--temperature', '2', '--batch-size', '2', '--max-new-tokens', '60'];
  const run = startWpo(flags(killed, ...more));
  await run.wrote('sample 2/20');
  run.kill('SIGKILL');
  await run.ended;
  const kept = readRows<SampleRow>(killed.out).length;
  expect(kept).toBeLessThan(20);
  const { status, err } = await startWpo(flags(killed, ...more)).ended;
  expect(status, err).toBe(0);
  await startWpo(flags(whole, ...more)).ended;
  expect(readRows(killed.out)).toHaveLength(20);
  expect(texts(readRows(killed.out))).toEqual(texts(readRows(whole.out)));
});

test('SIGTERM drops incomplete answers and keeps complete ones', async () => {
  const at = files();
  const run = startWpo(flags(at, '--temperature', '2', '--batch-size', '2', '--max-new-tokens', '60'));
  await run.wrote('sample 2/20');
  run.kill('SIGTERM');
  const { status, err } = await run.ended;
  expect(status).toBe(143);
  const kept = readRows<SampleRow>(at.out).length;
  expect(kept).toBeGreaterThanOrEqual(2);
  expect(err).toContain(`${at.out} has ${kept} of 20 answers`);
});
