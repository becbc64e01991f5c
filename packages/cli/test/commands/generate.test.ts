import '@wpo/tensorflow';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadTokenizerFolder } from '@wpo/data/node';
import { expect, test } from 'vitest';
import type { Generated } from '../../src/index';
import { main } from '../../src/main';
import { golden, modelFolder, temporaryFolder } from '../golden';
import { capture } from '../wpo';

const { tokenizer } = await loadTokenizerFolder(modelFolder);
const generated = async (args: string[]) => {
  const terminal = capture();
  expect(await main(['generate', '--model', modelFolder, ...args], terminal), terminal.err()).toBe(0);
  return terminal.out();
};
const asJson = async (args: string[]) =>
  (await generated([...args, '--json']))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Generated);

/** The fixture's prompts as text: whole rendered conversations, so `--raw`. */
const prompts = golden.greedy.map(({ prompt }) => tokenizer.decode(prompt));

test('greedy answers to raw text equal PyTorch’s, token for token', async () => {
  const file = join(temporaryFolder(), 'prompts.jsonl');
  writeFileSync(file, prompts.map((prompt) => JSON.stringify({ prompt })).join('\n'));
  const answers = await asJson(['--prompts', file, '--raw', '--max-new-tokens', '24']);
  expect(answers.map(({ prompt_ids }) => prompt_ids)).toEqual(golden.greedy.map(({ prompt }) => prompt));
  expect(answers.map(({ completion_ids }) => completion_ids)).toEqual(
    golden.greedy.map(({ completion }) => completion),
  );
  for (const { text, completion_ids } of answers) {
    expect(text).toBe(tokenizer.decode(completion_ids, { skipSpecialTokens: true }));
    expect(text).not.toContain('<end_of_turn>');
  }
});

test('the chat template formats a prompt given as text or as messages', async () => {
  const file = join(temporaryFolder(), 'prompts.jsonl');
  const question = 'What does a compiler do?';
  const rows = [{ prompt: question }, { prompt: [{ role: 'user', content: question }] }];
  writeFileSync(file, rows.map((row) => JSON.stringify(row)).join('\n\n'));
  const answers = await asJson(['--prompts', file, '--max-new-tokens', '24']);
  for (const { prompt_ids, completion_ids } of answers) {
    expect(prompt_ids).toEqual(golden.greedy[0]!.prompt);
    expect(completion_ids).toEqual(golden.greedy[0]!.completion);
  }
});

test('without --json the answer’s text is streamed and ends in a newline', async () => {
  const [{ text }] = (await asJson(['--prompt', 'Name three rivers in Europe.'])) as [Generated];
  expect(await generated(['--prompt', 'Name three rivers in Europe.'])).toBe(`${text}\n`);
});

test('the seed determines the sampled tokens', async () => {
  const draw = (seed: string) =>
    generated(['--prompt', 'Why?', '--temperature', '2', '--max-new-tokens', '12', '--seed', seed]);
  const first = await draw('1');
  expect(await draw('1')).toBe(first);
  expect(await draw('2')).not.toBe(first);
});

test('prompt i of a file is sampled with seed + i', async () => {
  const file = join(temporaryFolder(), 'prompts.jsonl');
  writeFileSync(file, ['Why?', 'Why?'].map((prompt) => JSON.stringify({ prompt })).join('\n'));
  const options = ['--temperature', '2', '--max-new-tokens', '12'];
  const [, second] = await asJson(['--prompts', file, ...options, '--seed', '1']);
  const [alone] = await asJson(['--prompt', 'Why?', ...options, '--seed', '2']);
  expect(second).toEqual(alone);
});

test.each([
  [['--prompts', '/nowhere.jsonl'], /^\/nowhere.jsonl: expected a JSONL, JSON or Parquet file, found no such file/],
  [[], /^--prompt: expected exactly one of --prompt and --prompts, found neither.\n$/],
])('%j is an error of one line', async (args, message) => {
  const terminal = capture();
  expect(await main(['generate', '--model', modelFolder, ...args], terminal)).toBe(1);
  expect(terminal.err()).toMatch(message);
});

test.each([
  ['{"prompt": 3}', /:2: prompt: expected text or a list/],
  ['{"prompt": [{"role": "user"}]}', /:2: prompt\[0\].content: expected text, found nothing/],
  [
    '{"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]}',
    /:2: prompt: expected messages that the chat template accepts, .*System role not supported.*system, user/,
  ],
  [`{"prompt": "[{'role': 'user', 'content': 'u'}]"}`, /:2: prompt: .* a list of messages written as text/],
  ['nonsense', /:2: expected one JSON object, found invalid JSON near "nonsense"/],
])('an invalid row of prompts, %j, is reported with its line', async (row, message) => {
  const file = join(temporaryFolder(), 'prompts.jsonl');
  writeFileSync(file, `{"prompt": "ok"}\n${row}\n`);
  const terminal = capture();
  expect(await main(['generate', '--model', modelFolder, '--prompts', file], terminal)).toBe(1);
  expect(terminal.err()).toMatch(message);
});
