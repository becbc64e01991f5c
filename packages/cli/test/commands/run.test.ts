import '@wpo/tensorflow';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import {
  type ScriptedBody,
  type ScriptedFault,
  type ScriptedServer,
  scriptedServer,
} from '../../../eval/test/scripted-server';
import { readMetrics, temporaryFolder } from '../golden';
import { readRows, startWpo, wpo, writeRows } from '../wpo';

const demo = (path: string) => fileURLToPath(new URL(`../../../../demo/${path}`, import.meta.url));

interface DemoPair {
  readonly prompt: string;
  readonly prompt_id: string;
  readonly chosen: readonly { readonly content: string }[];
}
const pairs = readRows<DemoPair>(demo('data/eval.jsonl'))
  .filter(({ prompt }) => prompt.length < 120)
  .slice(0, 4);
const offPolicy = pairs.map(({ prompt, prompt_id, chosen }) => ({
  prompt_id,
  prompt,
  completion: chosen.at(-1)!.content,
  source: 'someone',
}));

/** A judge with log-probs that prefers m or M, depending on the length of the request. */
function judge({ messages }: ScriptedBody) {
  const word = messages!.at(-1)!.content.length % 2 === 0 ? 'm' : 'M';
  const top = [
    { token: word, logprob: -0.1 },
    { token: word === 'm' ? 'M' : 'm', logprob: -2.4 },
  ];
  const content = [{ token: word, logprob: -0.1, top_logprobs: top }];
  return { finish_reason: 'length', message: { role: 'assistant', content: word }, logprobs: { content } };
}

const KINDS: readonly ScriptedFault[] = [
  { status: 429, headers: { 'retry-after-ms': '5' } },
  'silence',
  'half',
  'malformed',
  { status: 503, headers: { 'retry-after-ms': '5' } },
  'empty',
];

/** Every third request fails, each time with the next kind of fault. */
const faults = (number: number) => (number % 3 === 1 ? KINDS[((number - 1) / 3) % KINDS.length] : undefined);

/** Writes a run of the demo's model on four of its prompts. The stages score and eval use a server. */
function hybrid(server: ScriptedServer) {
  const folder = temporaryFolder();
  const at = (name: string) => join(folder, name);
  writeRows(
    at('prompts.jsonl'),
    pairs.map(({ prompt, prompt_id }) => ({ prompt, prompt_id })),
  );
  writeRows(at('off-policy.jsonl'), offPolicy);
  writeFileSync(
    at('baseline.json'),
    JSON.stringify(pairs.slice(0, 2).map(({ prompt }) => ({ instruction: prompt, output: 'No.', generator: 'base' }))),
  );
  writeFileSync(
    at('run.yaml'),
    `output_dir: out
sample:
  model: ${demo('model')}
  source: demo
  prompts: prompts.jsonl
  seeds: [13, 21]
  max_new_tokens: 8
score:
  answers: [out/answers.jsonl, off-policy.jsonl]
  endpoint: ${server.url}
  concurrency: 1
  timeout: 2
pair:
  off_policy: [someone]
weigh:
  model: ${demo('model')}
train:
  model_name_or_path: ${demo('model')}
  max_length: 160
  max_prompt_length: 120
  learning_rate: 1.0e-4
  save_steps: 1
  logging_steps: 1
eval:
  baseline: baseline.json
  judge: ${server.url}
  max_new_tokens: 8
  concurrency: 1
  timeout: 2
`,
  );
  return { at, out: (name: string) => join(folder, 'out', name), config: at('run.yaml') };
}

/** The events of stages in the output, e.g. `sample finished`, without paths. */
const eventsOf = (text: string) =>
  [...text.matchAll(/^(sample|score|pair|weigh|train|eval) +(running|finished|skipped|stopped|moved)/gm)].map(
    ([, stage, event]) => `${stage} ${event}`,
  );
const all = (event: string) =>
  ['sample', 'score', 'pair', 'weigh', 'train', 'eval'].map((stage) => `${stage} ${event}`);
const asked = (requests: ScriptedServer['requests']) =>
  requests.filter(({ path }) => path !== '/v1/models').map(({ body }) => JSON.stringify(body));

test('runs from prompts to a win rate through faults and kills, loses nothing, and sends no request twice', async () => {
  const server = await scriptedServer({ model: 'wise', chat: judge, fault: faults, delay: 30 });
  const { config, out } = hybrid(server);
  process.env.WPO_API_KEY = 'sk-secret';
  const start = (...more: string[]) => startWpo(['run', config, ...more]);

  const scoring = start();
  await scoring.wrote('score 5/12');
  scoring.kill('SIGKILL');
  await scoring.ended;
  const [answers, scored] = [readFileSync(out('answers.jsonl'), 'utf8'), readFileSync(out('scored.jsonl'), 'utf8')];

  const training = start();
  await training.wrote('train 2/4');
  training.kill('SIGKILL');
  expect(eventsOf((await training.ended).out)).toEqual([
    'sample skipped',
    ...['score', 'pair', 'weigh'].flatMap((stage) => [`${stage} running`, `${stage} finished`]),
    'train running',
  ]);
  expect(readFileSync(out('answers.jsonl'), 'utf8')).toBe(answers);
  expect(readFileSync(out('scored.jsonl'), 'utf8').startsWith(scored.slice(0, scored.lastIndexOf('\n') + 1))).toBe(
    true,
  );

  const last = await start().ended;
  expect(last.status, last.err).toBe(0);
  expect(eventsOf(last.out).slice(0, 5)).toEqual([...all('skipped').slice(0, 4), 'train running']);
  expect(last.err).not.toContain('train 1/4');
  expect(readRows(out('answers.jsonl'))).toHaveLength(8);
  expect(readRows(out('scored.jsonl'))).toHaveLength(12);
  expect(readRows(out('pairs.jsonl'))).toHaveLength(4);
  expect(readRows(out('weights.jsonl'))).toHaveLength(4);
  expect(
    readMetrics(out('train'))
      .filter((row) => 'loss' in row)
      .map(({ step }) => step),
  ).toEqual([1, 2, 3, 4]);
  expect(JSON.parse(readFileSync(out('eval/annotations.json'), 'utf8'))).toHaveLength(2);
  // one request was under way when the run was killed: its reply may have been lost
  const questions = asked(server.answered);
  expect(new Set(questions).size).toBe(12 + 4);
  expect(questions.length).toBeLessThanOrEqual(12 + 4 + 1);

  const before = server.requests.length;
  const again = await wpo('run', config);
  expect(again.status, again.err).toBe(0);
  expect(eventsOf(again.out)).toEqual(all('skipped'));
  expect(server.requests).toHaveLength(before);

  const changed = await wpo('run', config, '--set', 'train.learning_rate=2e-4');
  expect(changed.status, changed.err).toBe(0);
  expect(eventsOf(changed.out)).toEqual([
    ...all('skipped').slice(0, 4),
    ...['train moved', 'train running', 'train finished', 'eval running', 'eval finished'],
  ]);
  expect(existsSync(out('train.before-1/model'))).toBe(true);
  const kept = readFileSync(out('run.json'), 'utf8') + last.out + last.err;
  expect(kept).not.toContain('sk-secret');
});

/** Writes a run of the first three stages, with a server for sample and score. */
function sampling(server: ScriptedServer) {
  const { at, out } = hybrid(server);
  writeFileSync(
    at('run.yaml'),
    `output_dir: out
sample: {endpoint: ${server.url}, prompts: prompts.jsonl, seeds: [1, 2], concurrency: 2}
score: {endpoint: ${server.url}, answers: [out/answers.jsonl, off-policy.jsonl]}
pair: {off_policy: [someone]}
`,
  );
  return { at, out, config: at('run.yaml') };
}
/** The length of an answer depends on its seed, so that the scores differ. */
const chat = ({ seed, messages }: ScriptedBody) => messages!.at(-1)!.content.slice(0, 10 * seed!);

test('with new prompts old answers are kept; with other settings answers and scores are moved away', async () => {
  const server = await scriptedServer({ model: 'wise', chat });
  const { at, out, config } = sampling(server);
  const first = await wpo('run', config, '--json');
  expect(first.status, first.err).toBe(0);
  expect(
    first.out
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line)),
  ).toEqual([
    ...['sample', 'score', 'pair'].flatMap((stage) => [
      { type: 'stage', stage, state: 'running' },
      { type: 'stage', stage, state: 'finished' },
    ]),
    { type: 'end', status: 0 },
  ]);
  expect(eventsOf(first.err)).toContain('pair finished');
  expect(asked(server.answered)).toHaveLength(8 + 12);

  const prompt = 'Name three rivers.';
  writeRows(at('prompts.jsonl'), [...readRows<object>(at('prompts.jsonl')), { prompt, prompt_id: 'rivers' }]);
  expect(await wpo('run', config)).toMatchObject({ status: 0 });
  expect(asked(server.answered)).toHaveLength(20 + 2 + 2);

  const { status, out: lines } = await wpo('run', config, '--set', 'sample.temperature=0.5');
  expect({ status, events: eventsOf(lines) }).toEqual({
    status: 0,
    events: [
      ...['sample moved', 'sample moved', 'sample running', 'sample finished'],
      ...['score running', 'score finished', 'pair running', 'pair finished'],
    ],
  });
  expect(readRows(out('answers.jsonl.before-1'))).toHaveLength(10);
  expect(readRows(out('scored.jsonl.before-1'))).toHaveLength(14);
  expect(readRows(out('scored.jsonl'))).toHaveLength(14);
});

test('a row that is missing from an output is made again, and no other row', async () => {
  const server = await scriptedServer({ model: 'wise', chat });
  const { out, config } = sampling(server);
  await wpo('run', config);
  const before = server.answered.length;
  const whole = readFileSync(out('scored.jsonl'), 'utf8');
  writeFileSync(out('scored.jsonl'), whole.slice(0, -20));
  const { out: lines } = await wpo('run', config);
  expect(eventsOf(lines)).toEqual(['sample skipped', 'score running', 'score finished', 'pair skipped']);
  expect(asked(server.answered.slice(before))).toHaveLength(1);
  expect(readFileSync(out('scored.jsonl'), 'utf8')).toBe(whole);
});

test.each([
  ['SIGTERM', 143],
  ['SIGINT', 130],
] as const)('%s is passed on to the stage and ends the run with %i', async (signal, status) => {
  const server = await scriptedServer({ model: 'wise', chat, delay: 200 });
  const { out, config } = sampling(server);
  const run = startWpo(['run', config]);
  await run.wrote('sample 2/8');
  run.kill(signal);
  const ended = await run.ended;
  expect(ended.status, ended.err).toBe(status);
  expect(eventsOf(ended.out)).toEqual(['sample running', 'sample stopped']);
  expect(existsSync(out('scored.jsonl'))).toBe(false);
  expect(await wpo('run', config)).toMatchObject({ status: 0 });
  expect(asked(server.answered)).toHaveLength(8 + 12);
});
