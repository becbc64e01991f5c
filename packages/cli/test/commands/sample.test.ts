import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { type ScriptedBody, type ScriptedServer, scriptedServer } from '../../../eval/test/scripted-server';
import type { SampleRow } from '../../src/index';
import { temporaryFolder } from '../golden';
import { readRows, startWpo, wpo, writeRows } from '../wpo';

const talk = [
  { role: 'user', content: 'ten' },
  { role: 'assistant', content: 'net' },
  { role: 'user', content: 'odd' },
];
const prompts = [{ prompt: 'abc', prompt_id: 'first' }, { prompt: talk, prompt_id: 7 }, { prompt: 'xyz' }];
const xyz = '2f95e07ca5b7bf68'; // sha256 of "\"xyz\"", first 16 digits

function files(rows: readonly unknown[] = prompts) {
  const folder = temporaryFolder();
  const [promptsFile, out] = [join(folder, 'prompts.jsonl'), join(folder, 'answers.jsonl')];
  writeRows(promptsFile, rows);
  return { promptsFile, out };
}

const sampled = ({ url }: ScriptedServer, { promptsFile, out }: ReturnType<typeof files>, ...more: string[]) =>
  wpo('sample', '--endpoint', url, '--prompts', promptsFile, '--out', out, ...more);

const asked = ({ messages, seed }: ScriptedBody) => `${messages!.at(-1)!.content} ${seed}`;
/** The requests to the model that received a complete reply. */
const answered = ({ answered }: ScriptedServer) =>
  answered.filter(({ path }) => path !== '/v1/models').map(({ body }) => asked(body));
const keys = (rows: readonly SampleRow[]) => rows.map(({ prompt_id, seed }) => `${prompt_id} ${seed}`).sort();

test('each prompt is answered once per seed, and rows record the sampling settings', async () => {
  const server = await scriptedServer({ model: 'gemma-2-9b-it' });
  const at = files();
  const { status, out } = await sampled(
    server,
    at,
    '--seeds',
    '13,21',
    '--temperature',
    '0.7',
    '--max-new-tokens',
    '9',
  );
  expect(status).toBe(0);
  expect(out).toBe(`${at.out} has all 6 answers.\n`);
  const rows = readRows<SampleRow>(at.out);
  expect(keys(rows)).toEqual([`${xyz} 13`, `${xyz} 21`, '7 13', '7 21', 'first 13', 'first 21']);
  expect(rows.find(({ prompt_id, seed }) => prompt_id === '7' && seed === 21)).toEqual({
    prompt_id: '7',
    prompt: talk,
    completion: 'ddo',
    source: 'gemma-2-9b-it',
    seed: 21,
    finish_reason: 'stop',
    temperature: 0.7,
    top_p: 0.95,
    max_new_tokens: 9,
  });
  expect(server.requests.find(({ body }) => body.seed === 21 && body.messages?.length === 3)!.body).toEqual({
    model: 'gemma-2-9b-it',
    messages: talk,
    temperature: 0.7,
    top_p: 0.95,
    seed: 21,
    max_tokens: 9,
  });
});

test('by default the seeds are the paper’s five, and -n takes the first of them', async () => {
  const server = await scriptedServer();
  const at = files([{ prompt: 'a' }]);
  await sampled(server, at, '-n', '2');
  expect(
    readRows<SampleRow>(at.out)
      .map(({ seed }) => seed)
      .sort(),
  ).toEqual([13, 21]);
  await sampled(server, at);
  expect(
    readRows<SampleRow>(at.out)
      .map(({ seed }) => seed)
      .sort((a, b) => a - b),
  ).toEqual([13, 21, 42, 79, 100]);
  expect(answered(server)).toHaveLength(5);
});

test('at most `concurrency` requests run at once', async () => {
  const server = await scriptedServer({ delay: 30 });
  await sampled(server, files(), '--concurrency', '4');
  expect(server.mostAtOnce).toBe(4);
});

test('failing requests lose no answer, and no answered request is repeated', async () => {
  const faults = [
    { status: 429, headers: { 'retry-after': '0' } },
    { status: 500, headers: { 'retry-after-ms': '1' } },
    'reset',
    'half',
    'malformed',
    'empty',
    'silence',
    { status: 502, body: '<html>Bad gateway</html>', headers: { 'retry-after-ms': '1' } },
  ] as const;
  const server = await scriptedServer({ fault: (number) => (number % 2 === 1 ? faults[(number - 1) / 2] : undefined) });
  const at = files();
  const { status } = await sampled(server, at, '--model', 'm', '--concurrency', '3', '--timeout', '2');
  expect(status).toBe(0);
  expect(keys(readRows(at.out))).toHaveLength(15);
  expect(new Set(keys(readRows(at.out))).size).toBe(15);
  expect(answered(server)).toHaveLength(15);
  expect(new Set(answered(server)).size).toBe(15);
  expect(server.requests).toHaveLength(15 + faults.length);
});

test('a permanent failure is reported, answers are kept, and the same command resumes', async () => {
  let broken = true;
  const server = await scriptedServer({
    fault: (_, { body }) => (broken && body.seed === 21 ? { status: 400, body: 'too long' } : undefined),
  });
  const at = files();
  const first = await sampled(server, at, '--seeds', '13,21', '--model', 'm');
  expect(first.status).toBe(1);
  expect(first.err).toContain(
    `${server.url}/chat/completions: expected a reply, found status 400: too long. The server refuses this request.\n` +
      `${at.out} has 3 of 6 answers; 3 are missing. Run the same command again to resume.\n`,
  );
  broken = false;
  const second = await sampled(server, at, '--seeds', '13,21', '--model', 'm');
  expect(second).toMatchObject({ status: 0, out: `${at.out} has all 6 answers, 3 of them from before.\n` });
  expect(answered(server).sort()).toEqual(['abc 13', 'abc 21', 'odd 13', 'odd 21', 'xyz 13', 'xyz 21']);
  const third = await sampled(server, at, '--seeds', '13,21', '--model', 'm');
  expect(third.out).toBe(`${at.out} has all 6 answers, 6 of them from before.\n`);
  expect(answered(server)).toHaveLength(6);
});

test('the command stops after ten failed requests in succession', async () => {
  const server = await scriptedServer({ fault: () => ({ status: 401, body: 'no' }) });
  const many = files(Array.from({ length: 40 }, (_, i) => ({ prompt: `p${i}` })));
  const { status, err } = await sampled(server, many, '--model', 'm', '--concurrency', '2');
  expect(status).toBe(1);
  expect(err).toContain(`${many.out} has 0 of 200 answers; 200 are missing.`);
  expect(server.requests.length).toBeLessThanOrEqual(12);
});

test('an incomplete last line is removed and generated again; a complete one without its newline is kept', async () => {
  const server = await scriptedServer();
  const at = files();
  await sampled(server, at, '--seeds', '13', '--concurrency', '1', '--model', 'm');
  const whole = readFileSync(at.out, 'utf8');
  writeFileSync(at.out, whole.slice(0, -20));
  await sampled(server, at, '--seeds', '13', '--concurrency', '1', '--model', 'm');
  expect(readFileSync(at.out, 'utf8')).toBe(whole);
  expect(answered(server)).toEqual(['abc 13', 'odd 13', 'xyz 13', 'xyz 13']);
  writeFileSync(at.out, whole.slice(0, -1));
  await sampled(server, at, '--seeds', '13', '--model', 'm');
  expect(readFileSync(at.out, 'utf8')).toBe(whole);
  expect(answered(server)).toHaveLength(4);
});

test.each([
  [['--temperature', '0.5'], 'temperature: expected 0.5, found 0.8.'],
  [['--top-p', '1'], 'top_p: expected 1, found 0.95.'],
  [['--max-new-tokens', '5'], 'max_new_tokens: expected 5, found 2048.'],
  [['--model', 'other'], 'source: expected other, found m.'],
])('a file with other settings is not resumed: %j', async (flags, message) => {
  const server = await scriptedServer();
  const at = files();
  await sampled(server, at, '--seeds', '13', '--model', 'm');
  const before = readFileSync(at.out, 'utf8');
  const { status, err } = await sampled(server, at, '--seeds', '13,21', '--model', 'm', ...flags);
  expect(status).toBe(1);
  expect(err).toBe(`${at.out}:1: ${message} Give this run another --out, or the settings of that file.\n`);
  expect(readFileSync(at.out, 'utf8')).toBe(before);
  expect(answered(server)).toHaveLength(3);
});

test('a file with other prompt texts or other rows is not resumed', async () => {
  const server = await scriptedServer();
  const at = files();
  await sampled(server, at, '--seeds', '13', '--model', 'm', '--concurrency', '1');
  writeRows(at.promptsFile, [{ prompt: 'abd', prompt_id: 'first' }]);
  expect((await sampled(server, at, '--model', 'm')).err).toContain(
    `${at.out}:1: prompt: expected the prompt "first" of the prompts file, found another text.`,
  );
  writeRows(at.out, [{ prompt: 'abd' }]);
  expect((await sampled(server, at, '--model', 'm')).err).toContain(
    `${at.out}:1: expected an answer of wpo sample, found another kind of row`,
  );
  appendFileSync(at.promptsFile, '{"prompt": "other", "prompt_id": "first"}\n');
  expect((await sampled(server, at, '--model', 'm')).err).toBe(
    `${at.promptsFile}: expected a unique prompt_id for each prompt, found two prompts with "first". Give one of them another prompt_id.\n`,
  );
});

test.each([
  [['--seeds', '13,13'], '--seeds: expected different whole numbers of 0 or more'],
  [
    ['--prompt-format', 'templated'],
    '--prompt-format: expected messages with --endpoint, found templated. The server renders',
  ],
  [['-n', '6'], '--per-prompt: expected at most one answer per seed, 5, found 6. Add seeds with --seeds.'],
])('%j is an error', async (flags, message) => {
  const { promptsFile, out } = files();
  const { status, err } = await wpo(
    'sample',
    '--endpoint',
    'http://x',
    '--prompts',
    promptsFile,
    '--out',
    out,
    ...flags,
  );
  expect(status).toBe(1);
  expect(err).toContain(message);
});

test('without --model and --endpoint, the error names both', async () => {
  const { promptsFile, out } = files();
  expect(await wpo('sample', '--prompts', promptsFile, '--out', out)).toMatchObject({
    status: 1,
    err: '--model: expected one of --model and --endpoint, found neither.\n',
  });
});

test('the API key is sent, but never written to the file or the output', async () => {
  vi.stubEnv('WPO_API_KEY', 'sk-secret');
  const server = await scriptedServer({
    fault: (_, { headers, body }) =>
      body.seed === 21 ? { status: 403, body: `no ${headers.authorization}` } : undefined,
  });
  const at = files();
  const { out, err } = await sampled(server, at, '--seeds', '13,21');
  vi.unstubAllEnvs();
  expect(server.requests.every(({ headers }) => headers.authorization === 'Bearer sk-secret')).toBe(true);
  expect(err).toContain('status 403: no Bearer ***');
  expect(readRows(at.out)).toHaveLength(3);
  expect(out + err + readFileSync(at.out, 'utf8')).not.toContain('sk-secret');
});

const many = Array.from({ length: 12 }, (_, i) => ({ prompt: `prompt ${i}` }));
const start = ({ url }: ScriptedServer, { promptsFile, out }: ReturnType<typeof files>) =>
  startWpo(['sample', '--endpoint', url, '--prompts', promptsFile, '--out', out, '-n', '2', '--concurrency', '3']);

test('a killed run resumes without requesting a written answer again', async () => {
  const server = await scriptedServer({ delay: 40 });
  const at = files(many);
  const run = start(server, at);
  await run.wrote('sample 8/24');
  run.kill('SIGKILL');
  await run.ended;
  const kept = readRows<SampleRow>(at.out);
  const keptKeys = new Set(kept.map(({ prompt, seed }) => `${prompt} ${seed}`));
  const before = server.requests.length;
  const { status, err } = await start(server, at).ended;
  expect(status, err).toBe(0);
  expect(new Set(keys(readRows(at.out))).size).toBe(24);
  expect(readRows(at.out)).toHaveLength(24);
  expect(readRows<SampleRow>(at.out).slice(0, kept.length)).toEqual(kept);
  const again = server.requests.slice(before).filter(({ path }) => path !== '/v1/models');
  expect(again).toHaveLength(24 - kept.length);
  expect(again.filter(({ body }) => keptKeys.has(asked(body)))).toEqual([]);
});

test.each([
  ['SIGTERM', 143],
  ['SIGINT', 130],
] as const)('%s lets running requests finish, writes their answers, and exits with %i', async (signal, status) => {
  const server = await scriptedServer({ delay: 40 });
  const at = files(many);
  const run = start(server, at);
  await run.wrote('sample 8/24');
  run.kill(signal);
  const ended = await run.ended;
  expect(ended.status).toBe(status);
  const kept = readRows<SampleRow>(at.out);
  expect(ended.err).toContain(`${at.out} has ${kept.length} of 24 answers; ${24 - kept.length} are missing.`);
  expect(answered(server)).toHaveLength(kept.length); // no reply was dropped
  expect((await start(server, at).ended).status).toBe(0);
  expect(answered(server)).toHaveLength(24);
});

test('equal answers under different seeds and empty answers are reported, also when all rows are there', async () => {
  const server = await scriptedServer({
    chat: ({ messages, seed }) => {
      const { content } = messages!.at(-1)!;
      return content === 'abc' ? 'same' : content === 'xyz' && seed === 21 ? '' : `${content} ${seed}`;
    },
  });
  const at = files();
  const expected =
    '1 of 3 prompts got equal answers under different seeds, e.g. "first". If the answers are long, the seeds have no ' +
    'effect: raise --temperature, or use a server that accepts `seed`. `transformers serve` samples only if the model’s ' +
    'generation_config.json has "do_sample": true.\n' +
    '1 of 6 answers is empty: the model ended at once, or spent --max-new-tokens on reasoning.\n';
  expect((await sampled(server, at, '-n', '2', '--model', 'm')).err).toContain(expected);
  expect((await sampled(server, at, '-n', '2', '--model', 'm')).err).toBe(expected);
  const greedy = files([{ prompt: 'abc' }]);
  const { err } = await sampled(server, greedy, '-n', '2', '--model', 'm', '--temperature', '0');
  expect(err).toContain('At temperature 0 all seeds give the same answer: use -n 1, or raise --temperature.');
});

test('fields of --request are recorded in the rows; a file with other ones is not resumed', async () => {
  const server = await scriptedServer();
  const at = files();
  const flags = ['--seeds', '13', '--model', 'm', '--request', 'top_k=5'];
  expect((await sampled(server, at, ...flags)).status).toBe(0);
  expect(readRows<SampleRow>(at.out)[0]!.request).toEqual({ top_k: 5 });
  expect(server.requests[0]!.body.top_k).toBe(5);
  expect((await sampled(server, at, ...flags)).out).toContain('3 of them from before');
  expect((await sampled(server, at, '--seeds', '13', '--model', 'm')).err).toBe(
    `${at.out}:1: request: expected none, found {"top_k":5}. Give this run another --out, or the settings of that file.\n`,
  );
});

test.each(['waits before a retry', 'waits for a reply'])(
  'Ctrl-C ends a command that %s, and keeps its answers',
  async (what) => {
    const server = await scriptedServer({
      fault: (number) => {
        if (number < 7) return undefined; // the model's name, and six answers
        return what === 'waits for a reply' ? 'silence' : { status: 429, headers: { 'retry-after': '200' } };
      },
    });
    const at = files(many);
    const run = start(server, at);
    await run.wrote('sample 6/24');
    if (what === 'waits before a retry') await run.wrote('Waiting 4 min, then trying again.');
    run.kill('SIGINT');
    const { status, err } = await run.ended; // a wait of 200 s or 600 s would exceed the test's limit
    expect(status).toBe(130);
    expect(err).toContain(`${at.out} has 6 of 24 answers; 18 are missing. Run the same command again to resume.`);
    expect(readRows(at.out)).toHaveLength(6);
  },
);
