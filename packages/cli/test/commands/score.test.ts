import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type ScriptedBody, type ScriptedServer, scriptedServer } from '../../../eval/test/scripted-server';
import type { ScoredRow } from '../../src/index';
import { temporaryFolder } from '../golden';
import { readRows, startWpo, wpo, writeRows } from '../wpo';

const answer = (prompt_id: string, seed: number | undefined, completion: string, source = 'gemma') => ({
  prompt_id,
  prompt: `ask ${prompt_id}`,
  completion,
  source,
  ...(seed === undefined ? {} : { seed, finish_reason: 'stop', temperature: 0.8 }),
});
const answers = [
  answer('a', 13, 'x'),
  answer('a', 21, 'xxx'),
  answer('a', undefined, 'xx', 'gpt'),
  answer('b', 13, 'yyyy'),
];

function files(rows: readonly unknown[] = answers) {
  const folder = temporaryFolder();
  const at = { answers: join(folder, 'answers.jsonl'), rewards: join(folder, 'rewards.jsonl'), out: join(folder, 'o') };
  writeRows(at.answers, rows);
  return at;
}
type Files = ReturnType<typeof files>;

const scored = (at: Files, ...more: string[]) => wpo('score', '--answers', at.answers, '--out', at.out, ...more);
const fromFile = (at: Files, rewards: readonly unknown[]) => {
  writeRows(at.rewards, rewards);
  return scored(at, '--rewards', at.rewards);
};
const scores = (path: string) =>
  Object.fromEntries(
    readRows<ScoredRow>(path).map(({ prompt_id, source, seed, score }) => [`${prompt_id} ${seed ?? source}`, score]),
  );
/** The requests that received a complete reply, without those for the model's name. */
const answered = ({ answered }: ScriptedServer) => answered.filter(({ path }) => path !== '/v1/models');

test('scores from a file are assigned to the answers that they name, and rows keep their other fields', async () => {
  const at = files();
  const { status, out } = await fromFile(at, [
    { prompt_id: 'b', source: 'gemma', seed: 13, score: 4 },
    { prompt_id: 'a', source: 'gpt', score: 3 },
    { prompt_id: 'a', source: 'gemma', seed: 21, score: 2.5 },
    { prompt_id: 'a', source: 'gemma', seed: 13, score: -1 },
  ]);
  expect(status).toBe(0);
  expect(out).toBe(`${at.out} has all 4 scores.\n`);
  expect(scores(at.out)).toEqual({ 'a 13': -1, 'a 21': 2.5, 'a gpt': 3, 'b 13': 4 });
  const [first] = readRows<ScoredRow>(at.out);
  expect(first).toEqual({ ...answers[0], score: -1, scored_by: expect.stringMatching(/^rewards\.jsonl [0-9a-f]{8}$/) });
});

test('scores without prompt_id are assigned to the answers in order', async () => {
  const at = files();
  expect(await fromFile(at, [1, 2, { score: 3 }, 4])).toMatchObject({ status: 0 });
  expect(scores(at.out)).toEqual({ 'a 13': 1, 'a 21': 2, 'a gpt': 3, 'b 13': 4 });
  expect((await fromFile(files(), [1, 2, 3])).err).toContain(
    'rewards.jsonl: expected one score for each of 4 rows of answers, found 3.',
  );
});

test('null, NaN and float columns, as pandas writes them, mean what they mean', async () => {
  const at = files();
  const row = (id: string, seed: string, completion: string) =>
    `{"prompt_id": ${id}, "prompt": "ask", "completion": ${completion}, "source": "gemma", "seed": ${seed}, "finish_reason": null}`;
  writeFileSync(
    at.answers,
    `\ufeff${[row('7', '13.0', '"x\u2028y"'), row('8.0', 'null', 'null'), row('9007199254740993', 'NaN', '"z"')].join('\n')}`,
  );
  writeFileSync(at.rewards, '{"score": 1.5}\n{"score": 2}\n{"score": NaN}\n');
  const { status, err } = await scored(at, '--rewards', at.rewards);
  expect(status).toBe(0);
  expect(err).toContain(`${at.answers}: left out 1 row whose completion is null.\n`);
  expect(readRows<ScoredRow>(at.out).map(({ prompt_id, seed, score }) => [prompt_id, seed, score])).toEqual([
    ['7', 13, 1.5],
    ['9007199254740993', undefined, null],
  ]);
  const named =
    '{"prompt_id": 9007199254740993, "source": null, "score": 3}\n{"prompt_id": 7.0, "source": null, "score": null}\n';
  writeFileSync(at.rewards, named);
  const out = `${at.out}2`;
  expect(await scored({ ...at, out }, '--rewards', at.rewards)).toMatchObject({ status: 0 });
  expect(scores(out)).toEqual({ '7 13': null, '9007199254740993 gemma': 3 });
  expect(await scored({ ...at, out }, '--rewards', at.rewards)).toMatchObject({ status: 0 }); // reads its own rows
});

test('scores by prompt_id alone are accepted only if each prompt has one answer', async () => {
  const one = files([answers[0], answers[3]]);
  const rewards = [
    { prompt_id: 'a', score: 1 },
    { prompt_id: 'b', score: 2 },
  ];
  expect(await fromFile(one, rewards)).toMatchObject({ status: 0 });
  expect(scores(one.out)).toEqual({ 'a 13': 1, 'b 13': 2 });
  const several = await fromFile(files(), rewards);
  expect(several.status).toBe(1);
  expect(several.err).toContain(
    'found one for both ["a","gemma",13] and ["a","gemma",21], which have the same prompt_id.',
  );
});

test.each([
  [[{ prompt_id: 'a', seed: 13 }], /rewards\.jsonl:1: expected a score, found another kind of row/],
  [[{ prompt_id: 'a', seed: 13, score: '1' }], /rewards\.jsonl:1: score: expected a finite number, found the text "1"/],
  [
    [
      { prompt_id: 'a', seed: 13, score: 1 },
      { prompt_id: 'a', seed: 13, score: 2 },
    ],
    /rewards\.jsonl:2: expected one score for \["a",13\], found a second one/,
  ],
  [
    [{ prompt_id: 'a', source: 'gemma', seed: 13, score: 1 }],
    /expected a score for the answer \["a","gemma",21\], found none/,
  ],
])('rewards %j are an error', async (rewards, message) => {
  const { status, err } = await fromFile(files(), rewards);
  expect(status).toBe(1);
  expect(err).toMatch(message);
});

test.each([
  [{ ...answers[0], completion: 3 }, /answers\.jsonl:2: completion: expected text, found the number 3/],
  [{ prompt_id: 'z' }, /answers\.jsonl:2: prompt: expected .*, found nothing/],
  [
    answers[3],
    /answers\.jsonl: expected one answer for each prompt_id, source and seed, found two for \["b","gemma",13\]/,
  ],
])('the error about an unusable answer names its line: %j', async (row, message) => {
  const { status, err } = await fromFile(files([answers[3], row]), [1, 2]);
  expect(status).toBe(1);
  expect(err).toMatch(message);
});

test.each([
  [
    'pooling',
    {
      messages: [
        { role: 'user', content: 'ask a' },
        { role: 'assistant', content: 'x' },
      ],
      add_generation_prompt: false,
    },
  ],
  [
    'classify',
    {
      messages: [
        { role: 'user', content: 'ask a' },
        { role: 'assistant', content: 'x' },
      ],
      add_generation_prompt: false,
    },
  ],
  ['score', { text_1: 'ask a', text_2: 'x' }],
])('requests to /%s have the format of vLLM', async (api, body) => {
  const server = await scriptedServer({ model: 'rm', reward: ({ length }) => length - 2.5 });
  const at = files();
  const { status } = await scored(at, '--endpoint', server.url, '--api', api, '--concurrency', '1');
  expect(status).toBe(0);
  expect(scores(at.out)).toEqual({ 'a 13': -1.5, 'a 21': 0.5, 'a gpt': -0.5, 'b 13': 1.5 });
  expect(readRows<ScoredRow>(at.out)[0]!.scored_by).toBe(`rm ${api}`);
  expect(answered(server)[0]!.path).toBe(`/${api}`);
  expect(answered(server)[0]!.body).toEqual({ model: 'rm', ...body, use_activation: false });
});

test.each([
  ['one value per token, where the last one counts', { data: [[0.5], [0.25]] }, 0.25],
  ['one value', { data: [0.75] }, 0.75],
])('a reply of /pooling may be %s', async (_, fields, expected) => {
  const body = JSON.stringify({ data: [{ index: 0, object: 'pooling', ...fields }] });
  const server = await scriptedServer({ fault: () => ({ status: 200, body }) });
  const at = files([answers[0]]);
  await scored(at, '--endpoint', server.url, '--model', 'rm');
  expect(scores(at.out)).toEqual({ 'a 13': expected });
});

test('a model with several outputs is rejected', async () => {
  const server = await scriptedServer({
    fault: () => ({
      status: 200,
      body: '{"data": [{"index": 0, "label": "x", "probs": [0.1, 0.9], "num_classes": 2}]}',
    }),
  });
  const { status, err } = await scored(files(), '--endpoint', server.url, '--model', 'rm', '--api', 'classify');
  expect(status).toBe(1);
  expect(err).toContain(
    'prompt "a": expected one number from /classify, found 2. Serve a reward model with one output.',
  );
  expect(server.requests).toHaveLength(4); // a complete reply is not requested again
});

const faults = [
  { status: 429, headers: { 'retry-after': '0' } },
  'reset',
  'half',
  'malformed',
  'empty',
  { status: 503, headers: { 'retry-after-ms': '1' } },
] as const;
/** Every other request fails, until each fault has occurred once. */
const everyOther = (number: number) => (number % 2 === 1 ? faults[(number - 1) / 2] : undefined);

test('each answer is scored once despite failing requests', async () => {
  const server = await scriptedServer({ fault: everyOther });
  const many = files(Array.from({ length: 20 }, (_, i) => answer('a', i, 'x'.repeat(i))));
  const { status } = await scored(many, '--endpoint', server.url, '--model', 'rm', '--concurrency', '3');
  expect(status).toBe(0);
  expect(scores(many.out)).toEqual(Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`a ${i}`, i])));
  expect(answered(server)).toHaveLength(20);
  expect(server.requests).toHaveLength(20 + faults.length);
});

test('a killed run resumes without scoring an answer twice', async () => {
  const server = await scriptedServer({ delay: 40 });
  const many = files(Array.from({ length: 24 }, (_, i) => answer('a', i, 'x'.repeat(i))));
  const start = () =>
    startWpo(['score', '--answers', many.answers, '--out', many.out, '--endpoint', server.url, '--concurrency', '3']);
  const run = start();
  await run.wrote('score 8/24');
  run.kill('SIGKILL');
  await run.ended;
  const kept = readRows(many.out);
  const before = server.requests.length;
  const { status, err } = await start().ended;
  expect(status, err).toBe(0);
  expect(readRows(many.out).slice(0, kept.length)).toEqual(kept);
  expect(scores(many.out)).toEqual(Object.fromEntries(Array.from({ length: 24 }, (_, i) => [`a ${i}`, i])));
  expect(readRows(many.out)).toHaveLength(24);
  expect(server.requests.slice(before).filter(({ path }) => path === '/pooling')).toHaveLength(24 - kept.length);
});

test('a file with another scorer or other texts is not resumed', async () => {
  const server = await scriptedServer();
  const at = files();
  await scored(at, '--endpoint', server.url, '--model', 'rm', '--concurrency', '1');
  const before = readFileSync(at.out, 'utf8');
  expect((await scored(at, '--endpoint', server.url, '--model', 'other')).err).toBe(
    `${at.out}:1: scored_by: expected "other pooling", found "rm pooling". Give this run another --out.\n`,
  );
  writeRows(at.answers, [{ ...answers[0], completion: 'z' }, ...answers.slice(1)]);
  expect((await scored(at, '--endpoint', server.url, '--model', 'rm')).err).toContain(
    `${at.out}:1: completion: expected the text of the answers file for ["a","gemma",13], found another.`,
  );
  expect(readFileSync(at.out, 'utf8')).toBe(before);
});

/** The text of a section of the judge's prompt. */
const shown = ({ messages }: ScriptedBody, name: string) =>
  messages![0]!.content.match(new RegExp(`<<< ${name} >>>\n([^]*?)\n<<< end of ${name} >>>`))?.[1];

test('a judge receives prompt and answer, and the last rating in its reply is the score', async () => {
  const server = await scriptedServer({
    model: 'judge',
    chat: (body) => `Some would say Rating: 1.\n**Rating: ${shown(body, 'Answer')!.length + 0.5}**/10`,
  });
  const at = files();
  expect(await scored(at, '--judge', server.url)).toMatchObject({ status: 0 });
  expect(scores(at.out)).toEqual({ 'a 13': 1.5, 'a 21': 3.5, 'a gpt': 2.5, 'b 13': 4.5 });
  expect(readRows<ScoredRow>(at.out)[0]!.scored_by).toBe('judge rating');
  const { body } = answered(server)[0]!;
  expect(body).toMatchObject({ model: 'judge', temperature: 0, max_tokens: 2048 });
  expect(shown(body, 'Prompt')).toMatch(/^ask [ab]$/);
});

test('an answer whose reply has no rating from 1 to 10 is scored again by the next run', async () => {
  let clear = false;
  const server = await scriptedServer({
    chat: (body) => (clear || shown(body, 'Answer') !== 'xxx' ? 'Rating: 5' : 'I like it. Rating: 11'),
  });
  const at = files();
  const { status, err } = await scored(at, '--judge', server.url);
  expect(status).toBe(1);
  expect(err).toContain(
    'prompt "a": expected a judge’s reply that ends in "Rating: N, from 1 to 10", found "I like it. Rating: 11". Use a judge ' +
      'that follows instructions.\n' +
      `${at.out} has 3 of 4 scores; 1 is missing.`,
  );
  clear = true;
  expect(await scored(at, '--judge', server.url)).toMatchObject({ status: 0 });
  expect(answered(server)).toHaveLength(5);
});

/** A judge that prefers the longer answer, and the first one if both have the same length. */
const longer = (body: ScriptedBody) => {
  const [a, b] = [shown(body, 'Answer A')!.length, shown(body, 'Answer B')!.length];
  return `Verdict: A would be rash.\nVerdict: ${a >= b ? 'A' : 'B'}`;
};

test('a comparing judge receives every two answers in both orders; the score is the mean preference for an answer', async () => {
  const server = await scriptedServer({ model: 'judge', chat: longer, fault: everyOther });
  const at = files([...answers, answer('a', 42, 'xxx')]);
  const { status, out } = await scored(at, '--judge', server.url, '--compare', '--concurrency', '2');
  expect(status).toBe(0);
  expect(out).toBe(
    `${at.out}.verdicts.jsonl has all 12 verdicts.\n` +
      `${at.out} has 4 scores; 1 answer was left out: no other answer has the same prompt.\n`,
  );
  expect(scores(at.out)).toEqual({ 'a 13': 0, 'a gpt': 1 / 3, 'a 21': 5 / 6, 'a 42': 5 / 6 });
  const pairs = answered(server).map(({ body }) => `${shown(body, 'Answer A')} ${shown(body, 'Answer B')}`);
  expect(pairs.sort()).toEqual([
    'x xx',
    'x xxx',
    'x xxx',
    'xx x',
    'xx xxx',
    'xx xxx',
    'xxx x',
    'xxx x',
    'xxx xx',
    'xxx xx',
    'xxx xxx',
    'xxx xxx',
  ]);
});

test('existing verdicts are not requested again, and scores are written when all verdicts are there', async () => {
  let broken = true;
  const server = await scriptedServer({
    chat: longer,
    fault: (_, { body }) => (broken && shown(body, 'Answer A') === 'xx' ? { status: 400 } : undefined),
  });
  const at = files(answers.slice(0, 3));
  const flags = ['--judge', server.url, '--compare', '--model', 'judge'];
  const { status, err } = await scored(at, ...flags);
  expect(status).toBe(1);
  expect(err).toContain(`${at.out}.verdicts.jsonl has 4 of 6 verdicts; 2 are missing.`);
  expect(existsSync(at.out)).toBe(false);
  broken = false;
  expect(await scored(at, ...flags)).toMatchObject({ status: 0 });
  expect(scores(at.out)).toEqual({ 'a 13': 0, 'a gpt': 0.5, 'a 21': 1 });
  expect(await scored(at, ...flags)).toMatchObject({ status: 0 });
  expect(answered(server)).toHaveLength(6);
  writeFileSync(at.out, '');
  writeRows(at.answers, [answers[0], answers[1], { ...answers[2], completion: 'zzzzz' }]);
  expect(await scored(at, ...flags)).toMatchObject({ status: 0 });
  expect(scores(at.out)).toEqual({ 'a 13': 0, 'a gpt': 1, 'a 21': 0.5 });
  expect(answered(server)).toHaveLength(10); // the four requests with the new text
});

test.each([
  [[], '--rewards: expected exactly one of --rewards, --endpoint and --judge, found none of them.'],
  [['--compare', '--endpoint', 'http://x'], '--compare: expected --judge with it, found no judge.'],
  [['--judge', 'http://x', '--endpoint', 'http://x'], '--endpoint: expected without --judge, found both.'],
])('%j is an error', async (flags, message) => {
  const { status, err } = await scored(files(), ...flags);
  expect(status).toBe(1);
  expect(err).toContain(message);
});
