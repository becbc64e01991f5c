import '@wpo/tensorflow';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { chat } from '../../src/commands/chat';
import { modelFolder, peftAdapter, policyFolder, temporaryFolder } from '../golden';
import { capture, wpo } from '../wpo';

const CONFIG = {
  model: modelFolder,
  adapter: undefined,
  compareWith: undefined,
  dtype: 'auto',
  precision: 'float32',
  maxNewTokens: 6,
  temperature: 0,
  topK: undefined,
  topP: undefined,
  seed: 0,
} as const;
type Options = Partial<Parameters<typeof chat>[0]>;

/** Runs a chat with these lines as its input. Returns the exit status and what was printed. */
async function talk(lines: readonly string[], options: Options = {}) {
  const terminal = capture();
  const stdin = new PassThrough();
  stdin.end(lines.map((line) => `${line}\n`).join(''));
  const status = await chat({ ...CONFIG, ...options }, terminal, { stdin, stdout: new PassThrough() });
  return { status, out: terminal.out(), err: terminal.err() };
}

/** What `wpo generate` answers to a conversation. */
async function generated(messages: readonly { role: string; content: string }[], ...flags: string[]) {
  const prompts = join(temporaryFolder(), 'prompts.jsonl');
  writeFileSync(prompts, `${JSON.stringify({ prompt: messages })}\n`);
  const model = flags.includes('--model') ? [] : ['--model', modelFolder];
  const { status, out, err } = await wpo('generate', ...model, '--prompts', prompts, '--max-new-tokens', '6', ...flags);
  expect(status, err).toBe(0);
  return out;
}

const QUESTION = 'What does a compiler do?';
const user = (content: string) => ({ role: 'user', content });

test('answers the whole conversation, and /new forgets it', async () => {
  const first = await generated([user(QUESTION)]);
  const turn = { role: 'assistant', content: first.trim() };
  const second = await generated([user(QUESTION), turn, user('Why?')]);
  const alone = await generated([user('Why?')]);
  expect(second).not.toBe(alone);
  expect(await talk([QUESTION, '', 'Why?', '/new', 'Why?'])).toEqual({
    status: 0,
    out: `${first}${second}A new conversation.\n${alone}`,
    err: '',
  });
});

test('/compare shows the model without its adapter beside it, and the conversation continues with the adapter’s answer', async () => {
  const adapter = peftAdapter('all-linear');
  const plain = await generated([user(QUESTION)]);
  const adapted = await generated([user(QUESTION)], '--adapter', adapter);
  expect(plain).not.toBe(adapted);
  const next = await generated(
    [user(QUESTION), { role: 'assistant', content: adapted.trim() }, user('Why?')],
    '--adapter',
    adapter,
  );
  const { out } = await talk(['/compare', QUESTION, '/compare', 'Why?'], { adapter });
  expect(out).toBe(
    `Both models answer from now on.\n[${adapter}]\n${adapted}[${modelFolder}]\n${plain}One model answers from now on.\n${next}`,
  );
});

test('--compare-with names the other model', async () => {
  const other = policyFolder();
  const { out } = await talk(['/compare', QUESTION], { compareWith: other });
  const answers = [await generated([user(QUESTION)]), await generated([user(QUESTION)], '--model', other)];
  expect(out).toBe(`Both models answer from now on.\n[${modelFolder}]\n${answers[0]}[${other}]\n${answers[1]}`);
});

test.each([
  ['/compare', /^\/compare: expected a model to compare with, found none\. Start again with --compare-with/],
  ['/quit', /^\/quit: expected \/compare, \/new, \/help or \/exit, or a message without a slash\./],
  [
    'word '.repeat(5000),
    /tiny: expected a conversation of at most \d+ tokens, found \d+\. Start a new one with \/new\./,
  ],
])('a mistake in the input, %.10s, is reported, and the chat continues', async (line, message) => {
  const { status, out, err } = await talk([line, QUESTION]);
  expect([status, out]).toEqual([0, await generated([user(QUESTION)])]);
  expect(err).toMatch(message);
});

test('answer i is sampled with seed + i', async () => {
  const sampled = { temperature: 2, seed: 7 };
  const { out } = await talk(['Why?', '/new', 'Why?'], sampled);
  const flags = (seed: string) => ['--temperature', '2', '--seed', seed];
  const answers = [await generated([user('Why?')], ...flags('7')), await generated([user('Why?')], ...flags('8'))];
  expect(out).toBe(`${answers[0]}A new conversation.\n${answers[1]}`);
});

test('in a terminal, Ctrl-C stops an answer and, without one, ends the chat', async () => {
  const terminal = capture();
  const stdin = Object.assign(new PassThrough(), { isTTY: true });
  const stdout = Object.assign(new PassThrough(), { isTTY: true });
  const long = { temperature: 3, maxNewTokens: 450 };
  const ended = chat({ ...CONFIG, ...long }, terminal, { stdin, stdout });
  const answer = () => terminal.out().replace('/help lists what you can type.\n', '');
  stdin.write(`${QUESTION}\r`);
  while (answer() === '') await nextTask();
  stdin.write('\x03');
  stdin.write('/new\r');
  while (!answer().includes('A new conversation.')) await nextTask();
  stdin.write('\x03');
  expect(await ended).toBe(0);
  const whole = await generated([user(QUESTION)], '--temperature', '3', '--max-new-tokens', '450');
  const stopped = answer().replace(/\nA new conversation\.\n\n$/, '');
  expect(whole.startsWith(stopped)).toBe(true);
  expect(stopped.length).toBeLessThan(whole.length / 2);
});

const nextTask = () => new Promise((resolve) => setTimeout(resolve, 1));
