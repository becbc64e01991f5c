import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Annotation } from '@wpo/eval';
import { expect, test, vi } from 'vitest';
import { type Script, type ScriptedBody, scriptedServer } from '../../../eval/test/scripted-server';
import { temporaryFolder } from '../golden';
import { wpo } from '../wpo';

const INSTRUCTIONS = Array.from({ length: 30 }, (_, i) => `Question ${i}?`);

function jsonFile(generator: string, count: number): string {
  const file = join(temporaryFolder(), `${generator}.json`);
  const rows = INSTRUCTIONS.slice(0, count).map((instruction) => ({
    instruction,
    output: `${generator} says so`,
    generator,
  }));
  writeFileSync(file, JSON.stringify(rows));
  return file;
}

/** Runs `wpo eval` with a judge that reads verdicts, unless a flag says otherwise. */
async function judged(script: Script, { count = 4, flags = [] as string[], folder = temporaryFolder() } = {}) {
  const server = await scriptedServer({ model: 'wise', ...script });
  const args = ['--baseline', jsonFile('base', count), '--outputs', jsonFile('mine', count), '--judge', server.url];
  const ran = await wpo('eval', ...args, '--judge-form', 'verdict', '--retries', '0', '--out', folder, ...flags);
  const chats = server.requests.filter(({ path }) => path.startsWith('/v1/chat'));
  return { ...ran, server, folder, chats };
}

const preferences = (folder: string) =>
  (JSON.parse(readFileSync(join(folder, 'annotations.json'), 'utf8')) as Annotation[]).map(
    ({ preference }) => preference,
  );

/** Prefers the model's answer, in both positions. */
const verdict = ({ messages }: ScriptedBody) => {
  const { content } = messages!.at(-1)!;
  return content.indexOf('mine says') < content.indexOf('base says') ? 'm' : 'M';
};

test('a judge that accepts neither max_tokens nor temperature 0 is asked without them, with a notice', async () => {
  const said = (message: string) => ({ status: 400, body: JSON.stringify({ error: { message } }) });
  const { status, err, folder, chats, server } = await judged({
    chat: verdict,
    fault: (_, { body }) => {
      if (body.max_tokens !== undefined)
        return said("'max_tokens' is not supported with this model. Use 'max_completion_tokens'.");
      return body.temperature === 0
        ? said("'temperature' does not support 0. Only the default (1) is supported.")
        : undefined;
    },
  });
  expect(status, err).toBe(0);
  expect(preferences(folder)).toEqual([2, 2, 2, 2]);
  expect(err).toContain(
    `${server.url}: the server does not accept max_tokens. max_completion_tokens is sent instead.\n`,
  );
  expect(err).toContain(`${server.url}: the server does not accept temperature. It is left out`);
  expect(chats.at(-1)!.body).toMatchObject({ max_completion_tokens: 1024 });
  expect(chats.at(-1)!.body).not.toHaveProperty('temperature');
});

test('a judge that refuses every request ends the command with its words and status 1', async () => {
  const body = '{"error": {"message": "this deployment takes no \\u001b[2Jsystem messages"}}';
  const ran = await judged(
    { fault: (_, { path }) => (path === '/v1/models' ? undefined : { status: 400, body }) },
    { count: 30, flags: ['--concurrency', '2'] },
  );
  expect(ran.status).toBe(1);
  expect(ran.err).toMatch(/Nothing could be judged: \d+ requests brought no verdict\.\n {2}http:/);
  expect(ran.err).toContain('found status 400: this deployment takes no \\u001b[2Jsystem messages.');
  expect(ran.chats.length).toBeLessThanOrEqual(14); // of 60
  expect(existsSync(join(ran.folder, 'annotations.json'))).toBe(false);
});

test('a judge that spends its tokens on reasoning is named; with a larger limit the same command succeeds', async () => {
  const folder = temporaryFolder();
  const chat = (body: ScriptedBody) =>
    (body.max_tokens as number) < 2000
      ? { finish_reason: 'length', message: { content: null, reasoning_content: 'Let me see' } }
      : { finish_reason: 'stop', message: { content: `<think>m or M?</think>${verdict(body)}` } };
  const first = await judged({ chat }, { folder });
  expect(first.status).toBe(1);
  expect(first.err).toContain('Nothing could be judged');
  expect(first.err).toContain(
    'a reply that the token limit cut off while the judge was reasoning. Raise --judge-max-tokens (judge_max_tokens), now 1024.',
  );
  expect(readFileSync(join(folder, 'judgements.jsonl'), 'utf8')).toBe('');
  const second = await judged({ chat }, { folder, flags: ['--judge-max-tokens', '4096'] });
  expect(second.status, second.err).toBe(0);
  expect(preferences(folder)).toEqual([2, 2, 2, 2]);
});

test('pairs without a verdict are counted with their reasons, and asked again by the next run unless the reply was whole', async () => {
  const folder = temporaryFolder();
  const chat = (body: ScriptedBody) => {
    const { content } = body.messages!.at(-1)!;
    if (content.includes('Question 1?')) return { finish_reason: 'content_filter', message: { content: '' } };
    if (content.includes('Question 2?')) return '';
    return content.includes('Question 3?') ? 'Neither.' : verdict(body);
  };
  const { status, err } = await judged({ chat }, { folder });
  expect(status).toBe(0);
  expect(preferences(folder)).toEqual([2, null, null, null]);
  expect(err).toContain('3 of 4 pairs do not count, because a request brought no verdict:\n');
  expect(err).toContain('finish_reason content_filter: its content filter stopped the answer');
  expect(err).toContain('an empty reply. Use another judge.');
  expect(err).toContain('the judge named neither answer: "Neither."');
  const again = await judged({ chat: verdict }, { folder });
  expect(again.chats).toHaveLength(4);
  expect(preferences(folder)).toEqual([2, 2, 2, null]);
});

test('log-probs that are null: the error says what to set', async () => {
  const chat = () => ({ finish_reason: 'length', message: { content: 'm' }, logprobs: null });
  const { status, err } = await judged({ chat }, { flags: ['--judge-form', 'logprobs'] });
  expect(status).toBe(1);
  expect(err).toMatch(/expected log-probs, found none\. .*--max-logprobs 5 or more\. Add --judge-form verdict/);
});

test('--request and --headers reach the judge, also at an address as Azure’s', async () => {
  vi.stubEnv('AZURE_KEY', 'azure-key-123');
  const paths: string[] = [];
  const server = await scriptedServer({
    fault: (_, { path, body }) => {
      paths.push(path);
      const reply = { choices: [{ finish_reason: 'stop', message: { content: verdict(body) } }] };
      return { status: 200, body: JSON.stringify(reply) };
    },
  });
  const folder = temporaryFolder();
  const address = `${server.url.replace('/v1', '/openai/deployments/gpt')}?api-version=2024-10-21`;
  const files = ['--baseline', jsonFile('base', 1), '--outputs', jsonFile('mine', 1), '--out', folder];
  const request = ['--request', 'reasoning_effort=low', '--request', 'temperature=null', '--request', 'k={"a": [1]}'];
  // biome-ignore lint/suspicious/noTemplateCurlyInString: as the user writes it
  const headers = ['--headers', 'api-key=${AZURE_KEY}', '--headers', 'x-title=a=b'];
  const judge = ['--judge', address, '--judge-model', 'gpt', '--judge-form', 'verdict'];
  const { status, err } = await wpo('eval', ...files, ...judge, ...request, ...headers);
  vi.unstubAllEnvs();
  expect(status, err).toBe(0);
  expect(new Set(paths)).toEqual(new Set(['/openai/deployments/gpt/chat/completions?api-version=2024-10-21']));
  expect(server.requests[0]).toMatchObject({
    headers: { 'api-key': 'azure-key-123', 'x-title': 'a=b' },
    body: { reasoning_effort: 'low', k: { a: [1] }, max_tokens: 1024 },
  });
  expect(server.requests[0]!.body).not.toHaveProperty('temperature');
});
