import '@wpo/tensorflow';
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Annotation, ModelOutput } from '@wpo/eval';
import { expect, test } from 'vitest';
import {
  type Script,
  type ScriptedBody,
  type ScriptedServer,
  scriptedServer,
} from '../../../eval/test/scripted-server';
import { main } from '../../src/main';
import { modelFolder, temporaryFolder } from '../golden';
import { capture } from '../wpo';

const INSTRUCTIONS = Array.from({ length: 12 }, (_, i) => `Question ${i}?`);

const outputs = (generator: string, answer: (i: number) => string): ModelOutput[] =>
  INSTRUCTIONS.map((instruction, i) => ({
    instruction,
    output: answer(i),
    generator,
    dataset: i % 3 === 0 ? 'koala' : 'vicuna',
  }));

function jsonFile(rows: readonly object[]): string {
  const file = join(temporaryFolder(), 'rows.json');
  writeFileSync(file, JSON.stringify(rows));
  return file;
}

/** Each answer contains its quality, e.g. `good 7`, which the scripted judge reads. */
const baseline = jsonFile(outputs('base', () => 'The baseline is good 5'));
const answers = outputs('mine', (i) => `${'My answer '.repeat(i)}is good ${i}`);

const goodness = ({ messages }: ScriptedBody) =>
  [...messages!.at(-1)!.content.matchAll(/good (\d+)/g)].map(([, number]) => Number(number));

/** p(m) = σ((first − second) / 2 + 0.5) as log-probs of the first token. The 0.5 is a bias for the first position. */
function byLogprobs(body: ScriptedBody) {
  const [first, second] = goodness(body);
  const share = 1 / (1 + Math.exp(-((first! - second!) / 2 + 0.5)));
  const top = [
    { token: 'm', logprob: Math.log(share) },
    { token: 'M', logprob: Math.log(1 - share) },
    { token: 'The', logprob: -20 },
  ];
  const word = share > 0.5 ? 'm' : 'M';
  const content = [{ token: word, logprob: -0.1, top_logprobs: top }];
  return { finish_reason: 'length', message: { role: 'assistant', content: word }, logprobs: { content } };
}

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

/** The model's preference by the rule above, as the mean of both orders. */
const share = (good: number) => (1 - sigmoid((5 - good) / 2 + 0.5) + sigmoid((good - 5) / 2 + 0.5)) / 2;

async function evaluated(server: ScriptedServer, out: string, ...args: string[]) {
  const terminal = capture();
  const flags = ['--baseline', baseline, '--judge', server.url, '--out', out, '--retries', '8', ...args];
  const status = await main(['eval', ...flags], terminal);
  return { status, out: terminal.out(), err: terminal.err() };
}

const written = <T>(folder: string, name: string) => JSON.parse(readFileSync(join(folder, name), 'utf8')) as T;

const judging = (script: Script = {}) => scriptedServer({ model: 'wise', chat: byLogprobs, ...script });

test('answers are judged in both orders by log-probs, and written in the format of alpaca_eval', async () => {
  const [server, folder] = [await judging(), temporaryFolder()];
  const { status, out, err } = await evaluated(server, folder, '--outputs', jsonFile(answers), '--json');
  expect(status, err).toBe(0);

  expect(written(folder, 'model_outputs.json')).toEqual(answers);
  const annotations = written<Annotation[]>(folder, 'annotations.json');
  expect(annotations).toHaveLength(12);
  for (const [i, annotation] of annotations.entries()) {
    expect(Object.keys(annotation).sort()).toEqual(
      // the columns of results/*/weighted_alpaca_eval_gpt4_turbo/annotations.json, price and time apart
      [
        'annotator',
        'dataset',
        'generator_1',
        'generator_2',
        'instruction',
        'output_1',
        'output_2',
        'preference',
        'raw_completion',
      ],
    );
    expect(annotation).toMatchObject({
      output_2: answers[i]!.output,
      generator_1: 'base',
      generator_2: 'mine',
      annotator: 'wise',
    });
    expect(annotation.preference).toBeCloseTo(1 + share(i), 10);
  }
  const shares = INSTRUCTIONS.map((_, i) => share(i));
  const found = JSON.parse(out) as Record<string, number>;
  expect(found.win_rate).toBeCloseTo((100 * shares.reduce((sum, x) => sum + x)) / 12, 8);
  expect(found).toMatchObject({ n_wins: 6, n_wins_base: 5, n_draws: 1, n_total: 12 });
  expect(written(folder, 'metrics.json')).toMatchObject({
    ...found,
    datasets: [{ dataset: 'koala' }, { dataset: 'vicuna' }],
  });

  expect(server.requests.filter(({ path }) => path === '/v1/chat/completions')).toHaveLength(24);
  const { body } = server.requests.at(-1)!;
  expect(body).toMatchObject({ model: 'wise', max_tokens: 1, temperature: 1, logprobs: true, top_logprobs: 5 });
});

test('the written annotations give the same rates', async () => {
  const [server, folder] = [await judging(), temporaryFolder()];
  const first = await evaluated(server, folder, '--outputs', jsonFile(answers), '--json');
  const terminal = capture();
  expect(await main(['eval', '--annotations', join(folder, 'annotations.json'), '--json'], terminal)).toBe(0);
  expect(terminal.out()).toBe(first.out);
});

test('a judge without log-probs is read by its verdicts', async () => {
  const chat = (body: ScriptedBody) => {
    const [first, second] = goodness(body);
    return first! > second! ? ' m.' : 'M';
  };
  const [server, folder] = [await judging({ chat }), temporaryFolder()];
  const args = ['--outputs', jsonFile(answers), '--judge-form', 'verdict'];
  const { status, out } = await evaluated(server, folder, ...args);
  expect(status).toBe(0);
  // at 5 against 5 the judge takes the second place both times: a draw
  expect(written<Annotation[]>(folder, 'annotations.json').map(({ preference }) => preference)).toEqual([
    ...[1, 1, 1, 1, 1],
    1.5,
    ...[2, 2, 2, 2, 2, 2],
  ]);
  expect(out).toContain('mine against base, judged by wise in both orders');
  expect(out).toMatch(/win rate +54\.17 %/);
  expect(server.requests.at(-1)!.body).toMatchObject({ temperature: 0 });
});

test('the error about a judge without log-probs suggests --judge-form verdict', async () => {
  const server = await judging({ chat: () => 'm' });
  const { status, err } = await evaluated(server, temporaryFolder(), '--outputs', jsonFile(answers));
  expect(status).toBe(1);
  expect(err).toContain('Add --judge-form verdict');
});

test('failing requests lose no judgement, and no answered request is repeated', async () => {
  const faults = [
    { status: 429, headers: { 'retry-after': '0' } },
    'malformed',
    { status: 503 },
    'half',
    'reset',
    'empty',
  ] as const;
  const fault: Script['fault'] = (number, { path }) =>
    path.endsWith('chat/completions') ? faults[number % 12] : undefined;
  const [server, folder] = [await judging({ fault }), temporaryFolder()];
  const { status, err } = await evaluated(server, folder, '--outputs', jsonFile(answers));
  expect(status, err).toBe(0);
  const bodies = server.answered
    .filter(({ path }) => path.endsWith('chat/completions'))
    .map(({ body }) => JSON.stringify(body));
  expect(bodies).toHaveLength(24);
  expect(new Set(bodies).size).toBe(24);
  for (const [i, { preference }] of written<Annotation[]>(folder, 'annotations.json').entries()) {
    expect(preference).toBeCloseTo(1 + share(i), 10);
  }
});

test('judgements are cached: a second run asks only new questions, another judge asks all', async () => {
  const [server, folder] = [await judging(), temporaryFolder()];
  const asked = () => server.answered.filter(({ path }) => path.endsWith('chat/completions')).length;
  const first = await evaluated(server, folder, '--outputs', jsonFile(answers), '--json');
  expect(asked()).toBe(24);
  const second = await evaluated(server, folder, '--outputs', jsonFile(answers), '--json');
  expect([second.out, asked()]).toEqual([first.out, 24]);
  const changed = answers.map((answer, i) => (i === 3 ? { ...answer, output: 'Now good 9' } : answer));
  await evaluated(server, folder, '--outputs', jsonFile(changed));
  expect(asked()).toBe(26);
  await evaluated(server, folder, '--outputs', jsonFile(answers), '--judge-model', 'wiser');
  expect(asked()).toBe(50);
});

test('if the judge fails, the same command resumes and ignores an incomplete line of the cache', async () => {
  const fault: Script['fault'] = (number) => (number > 10 ? { status: 401 } : undefined);
  const [failing, folder] = [await judging({ fault }), temporaryFolder()];
  const args = ['--outputs', jsonFile(answers), '--concurrency', '2'];
  const { status, err } = await evaluated(failing, folder, ...args);
  expect(status).toBe(1);
  expect(err).toMatch(
    /of 12 pairs are not judged yet. Replies so far are kept; run the same command again to resume.\n$/,
  );
  expect(existsSync(join(folder, 'annotations.json'))).toBe(false);
  const kept = readFileSync(join(folder, 'judgements.jsonl'), 'utf8').split('\n').length - 1;
  expect(kept).toBe(10);

  appendFileSync(join(folder, 'judgements.jsonl'), '{"key": "half a li');
  const server = await judging();
  expect((await evaluated(server, folder, ...args)).status).toBe(0);
  expect(server.answered.filter(({ path }) => path.endsWith('chat/completions'))).toHaveLength(24 - kept);
  expect(written<Annotation[]>(folder, 'annotations.json')).toHaveLength(12);
});

test('after a signal, running requests finish and are kept, and the status names the signal', async () => {
  let asked = 0;
  const chat = (body: ScriptedBody) => {
    if (++asked === 7) process.emit('SIGTERM', 'SIGTERM');
    return byLogprobs(body);
  };
  const [server, folder] = [await judging({ chat }), temporaryFolder()];
  const args = ['--outputs', jsonFile(answers), '--concurrency', '2'];
  const { status, err } = await evaluated(server, folder, ...args);
  expect(status).toBe(143);
  expect(err).toContain('run the same command again to resume');
  expect(asked).toBeLessThan(12);
  expect((await evaluated(server, folder, ...args)).status).toBe(0);
  expect(asked).toBe(24);
});

test('pairs are left out only if the server rejects them or the reply names neither answer', async () => {
  const fault: Script['fault'] = (_, { body }) =>
    goodness({ messages: [{ role: 'user', content: '' }], ...body }).includes(9) ? { status: 400 } : undefined;
  const chat = (body: ScriptedBody) => (goodness(body).includes(8) ? 'Neither' : 'm');
  const [server, folder] = [await judging({ fault, chat }), temporaryFolder()];
  const { status, out, err } = await evaluated(
    server,
    folder,
    '--outputs',
    jsonFile(answers),
    '--judge-form',
    'verdict',
    '--json',
  );
  expect(status).toBe(0);
  expect(err).toContain(
    '2 of 12 pairs do not count, because a request brought no verdict:\n' +
      `  ${server.url}/chat/completions: expected a reply, found status 400: scripted. The server refuses this request.\n` +
      '  the judge named neither answer: "Neither"\n',
  );
  expect(JSON.parse(out)).toMatchObject({ n_total: 10, win_rate: 50 });
  expect(written<Annotation[]>(folder, 'annotations.json').map(({ preference }) => preference)).toEqual([
    ...[1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5],
    ...[null, null],
    ...[1.5, 1.5],
  ]);
});

test('--judge-prompt takes a prompt in the format of alpaca_eval', async () => {
  const prompt = join(temporaryFolder(), 'prompt.txt');
  writeFileSync(
    prompt,
    '<|im_start|>system\nJudge.\n<|im_end|>\n<|im_start|>user\n{output_1} or {output_2}, {instruction}\n<|im_end|>',
  );
  const server = await judging();
  await evaluated(server, temporaryFolder(), '--outputs', jsonFile(answers.slice(1, 2)), '--judge-prompt', prompt);
  expect(server.requests.at(-1)!.body.messages).toEqual([
    { role: 'system', content: 'Judge.' },
    { role: 'user', content: 'My answer is good 1 or The baseline is good 5, Question 1?' },
  ]);
});

test('reads answers of wpo sample, and reports how many instructions lack one of the two answers', async () => {
  const rows = answers.slice(0, 4).map(({ instruction, output }, i) => ({
    prompt_id: String(i),
    prompt: instruction,
    completion: output,
    source: 'sampled',
    seed: 13,
  }));
  const file = join(temporaryFolder(), 'answers.jsonl');
  writeFileSync(file, rows.map((row) => JSON.stringify(row)).join('\n'));
  const [server, folder] = [await judging(), temporaryFolder()];
  const { status, err } = await evaluated(server, folder, '--outputs', file);
  expect(status).toBe(0);
  expect(err).toContain('4 instructions have both answers. Left out: 8 of the baseline’s 12 and 0 of the model’s 4.');
  const [first] = written<Annotation[]>(folder, 'annotations.json');
  expect(first).toMatchObject({ generator_2: 'sampled', dataset: 'koala', output_2: 'is good 0' });
});

test('a local model answers each instruction once', async () => {
  const set = jsonFile(INSTRUCTIONS.slice(0, 3).map((instruction) => ({ instruction, dataset: 'koala' })));
  const [server, folder] = [await judging({ chat: () => 'm' }), temporaryFolder()];
  const args = ['--model', modelFolder, '--eval-set', set, '--judge-form', 'verdict', '--max-new-tokens', '6'];
  expect((await evaluated(server, folder, ...args, '--generator', 'tiny')).err).toContain('answer 3/3');
  const found = written<ModelOutput[]>(folder, 'model_outputs.json');
  expect(found.map(({ instruction, generator, dataset }) => [instruction, generator, dataset])).toEqual(
    INSTRUCTIONS.slice(0, 3).map((instruction) => [instruction, 'tiny', 'koala']),
  );
  const kept = readFileSync(join(folder, 'answers.jsonl'), 'utf8');
  expect(kept.trim().split('\n')).toHaveLength(3);

  const again = await evaluated(server, folder, ...args, '--generator', 'tiny');
  expect(again.err).not.toContain('answer 3/3');
  expect(readFileSync(join(folder, 'answers.jsonl'), 'utf8')).toBe(kept);
  expect(written(folder, 'model_outputs.json')).toEqual(found);
});

test('a local model answers rendered instructions as the chat template renders them', async () => {
  const render = (text: string) => `<bos><start_of_turn>user\n${text}<end_of_turn>\n<start_of_turn>model\n`;
  const [plain, rendered] = [(text: string) => text, render].map((form) =>
    jsonFile(INSTRUCTIONS.slice(0, 3).map((text) => ({ instruction: form(text), output: 'x', generator: 'base' }))),
  ) as [string, string];
  const folder = temporaryFolder();
  const answersTo = async (baseline: string, ...more: string[]) => {
    const server = await judging({ chat: () => 'm' });
    const args = ['--judge-form', 'verdict', '--max-new-tokens', '6', '--baseline', baseline, ...more];
    const { status, err } = await evaluated(server, folder, '--model', modelFolder, ...args);
    expect(status, err).toBe(0);
    return { outputs: written<ModelOutput[]>(folder, 'model_outputs.json').map(({ output }) => output), err };
  };
  const expected = await answersTo(plain);
  const doubled = await answersTo(rendered);
  const found = await answersTo(rendered, '--prompt-format', 'templated'); // in the same folder: the cached answers are others
  expect(found.outputs).toEqual(expected.outputs);
  expect(doubled.outputs).not.toEqual(expected.outputs);
  expect(expected.err + found.err).not.toContain('control tokens');
  expect(doubled.err).toContain(`${rendered}: 3 prompts have control tokens in the text (<bos>, <start_of_turn>, `);
});

test.each([
  [
    ['--model', 'a', '--outputs', 'b'],
    /^--model: expected exactly one of --model, .* and --outputs, .*, found both\.$/m,
  ],
  [['--outputs', 'b', '--eval-set', 'c'], /^--eval-set: expected with --model, found with --outputs/m],
  [
    ['--outputs', jsonFile([{ instruction: 'Other?', output: 'x' }])],
    /expected answers to the instructions of .*, found none/,
  ],
  [['--outputs', jsonFile([{ instruction: 'Other?' }])], /rows\.json:1: output: expected text, found nothing/],
  [['--outputs', jsonFile(answers), '--judge-prompt', '/nowhere'], /no such file/],
])('%j is an error without a stack', async (args, message) => {
  const { status, err } = await evaluated(await judging(), temporaryFolder(), ...args);
  expect(status).toBe(1);
  expect(err).toMatch(message);
  expect(err).not.toContain('    at ');
});
