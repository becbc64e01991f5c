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

test('rendered prompts get the answers of the prompts that the chat template renders', async () => {
  const [plain, rendered] = [files(), files()];
  const render = (text: string) => `<bos><start_of_turn>user\n${text}<end_of_turn>\n<start_of_turn>model\n`;
  writeRows(
    rendered.prompts,
    questions.map((prompt) => ({ prompt: render(prompt), prompt_id: prompt })),
  );
  const more = ['-n', '1', '--temperature', '2'];
  const templated = ['--prompt-format', 'templated'];
  expect((await wpo(...flags(plain, ...more))).err).not.toContain('control tokens');
  expect((await wpo(...flags(rendered, ...more, ...templated))).err).not.toContain('control tokens');
  const [expected, found] = [readRows<SampleRow>(plain.out), readRows<SampleRow>(rendered.out)];
  expect(texts(found)).toEqual(texts(expected));
  expect(found.map(({ prompt_format }) => prompt_format)).toEqual(questions.map(() => 'templated'));
  expect(expected[0]).not.toHaveProperty('prompt_format');

  const resumed = await wpo(...flags(rendered, ...more));
  expect(resumed).toMatchObject({ status: 1 });
  expect(resumed.err).toContain(`${rendered.out}:1: prompt_format: expected none, found templated.`);

  const doubled = await wpo(...flags({ ...rendered, out: `${rendered.out}.2` }, ...more));
  expect(doubled.err).toContain(
    `${rendered.prompts}: 4 prompts have control tokens in the text (<bos>, <start_of_turn>, <end_of_turn>; first in ` +
      `${rendered.prompts}:1). The model sees them`,
  );
  expect(texts(readRows(`${rendered.out}.2`))).not.toEqual(texts(expected));
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
