import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, expect, test, vi } from 'vitest';
import { temporaryFolder } from './golden';
import { wpo, writeRows } from './wpo';

afterEach(() => vi.unstubAllEnvs());

const PLANTED = {
  key: 'sk-planted-key-0123456789',
  password: 'planted:p4ss/w+rd',
  query: 'planted-query-4567',
  header: 'planted-header-890',
  variable: 'planted-variable-12',
};
/** All forms of the secrets: as they are, URL-encoded, and in base64 as a Basic header has them. */
const FORMS = [...Object.values(PLANTED), `ada:${PLANTED.password}`].flatMap((secret) => [
  secret,
  encodeURIComponent(secret),
  Buffer.from(secret).toString('base64').replace(/=+$/, ''),
]);

/** Repeats all of a request's headers and its path, broken and unbroken. */
const echo = ({ url, headers }: IncomingMessage) => {
  const text = `${url} ${JSON.stringify(headers)}`;
  return `${text} ${headers.authorization?.replace(/.{20}/g, '$&\r\n ')} ${decodeURIComponent(url!)}`;
};

const servers: { close(): void }[] = [];
afterAll(() => {
  for (const server of servers) server.close();
});

/** A server that repeats secrets in answers (`chat`), errors (`error`), or the name of its model (`models`). */
async function echoing(where: 'chat' | 'error' | 'models'): Promise<string> {
  const server = createServer((request, response) => {
    const isModels = request.url!.startsWith('/v1/models');
    if (where === 'error' && !isModels) return void response.writeHead(400).end(echo(request));
    const content = `Rating: 5 Verdict: A ${echo(request)}`;
    const name = where === 'models' ? echo(request) : 'wise';
    const reply = isModels
      ? { data: [{ id: name }, ...(where === 'models' ? [{ id: 'other' }] : [])] }
      : { choices: [{ finish_reason: 'stop', message: { content } }] };
    response.end(JSON.stringify(reply));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  servers.push({ close: () => server.close() && server.closeAllConnections() });
  return `127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
}

/** The text of all files in a folder, with their names. */
const allText = (folder: string): string =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => `${entry.name}\n${readFileSync(join(entry.parentPath ?? entry.path, entry.name), 'utf8')}`)
    .join('\n');

const answers = [1, 2].map((seed) => ({
  prompt_id: 'a',
  prompt: 'Ask',
  completion: `text ${seed}`,
  source: 'm',
  seed,
}));

const commands: readonly (readonly [name: string, (url: string, folder: string) => string[]])[] = [
  [
    'sample',
    (url, folder) => [
      'sample',
      '--endpoint',
      url,
      '--prompts',
      join(folder, 'prompts.jsonl'),
      '-n',
      '1',
      '--out',
      join(folder, 'out'),
    ],
  ],
  [
    'score',
    (url, folder) => [
      'score',
      '--judge',
      url,
      '--answers',
      join(folder, 'answers.jsonl'),
      '--out',
      join(folder, 'out'),
    ],
  ],
  [
    'compare',
    (url, folder) => [
      'score',
      '--compare',
      '--judge',
      url,
      '--answers',
      join(folder, 'answers.jsonl'),
      '--out',
      join(folder, 'out'),
    ],
  ],
  [
    'reward',
    (url, folder) => [
      'score',
      '--endpoint',
      url,
      '--answers',
      join(folder, 'answers.jsonl'),
      '--out',
      join(folder, 'out'),
    ],
  ],
  [
    'eval',
    (url, folder) => [
      'eval',
      '--judge',
      url,
      '--judge-form',
      'verdict',
      '--baseline',
      join(folder, 'base.json'),
      '--outputs',
      join(folder, 'mine.json'),
      '--out',
      join(folder, 'eval'),
    ],
  ],
  ['run', (_, folder) => ['run', join(folder, 'run.yaml')]],
];

const cases = commands.flatMap(([name, args]) =>
  (['chat', 'error', 'models'] as const).flatMap((where) =>
    [true, false].map((byUrl) => [name, where, byUrl, args] as const),
  ),
);

test.each(cases)(
  '%s writes no secret that a server repeats in its %s (user and password in the address: %s)',
  async (name, where, byUrl, args) => {
    vi.stubEnv('WPO_API_KEY', PLANTED.key);
    vi.stubEnv('PLANTED_VARIABLE', PLANTED.variable);
    const folder = temporaryFolder();
    const user = byUrl ? `ada:${encodeURIComponent(PLANTED.password)}@` : '';
    const url = `http://${user}${await echoing(where)}?api-version=1&code=${PLANTED.query}`;
    writeRows(join(folder, 'prompts.jsonl'), [{ prompt: 'Ask', prompt_id: 'a' }]);
    writeRows(join(folder, 'answers.jsonl'), answers);
    for (const file of ['base', 'mine']) {
      writeFileSync(
        join(folder, `${file}.json`),
        JSON.stringify([{ instruction: 'Ask', output: file, generator: file }]),
      );
    }
    // biome-ignore lint/suspicious/noTemplateCurlyInString: as the user writes it
    const variable = 'x-token=${PLANTED_VARIABLE}';
    const yaml = `output_dir: runs\nsample:\n  endpoint: $URL\n  prompts: prompts.jsonl\n  seeds: 1\n  retries: 0\n`;
    if (name === 'run') writeFileSync(join(folder, 'run.yaml'), yaml.replace('$URL', JSON.stringify(url)));
    const headers =
      name === 'run' ? [] : ['--headers', `x-planted=${PLANTED.header}`, '--headers', variable, '--retries', '0'];
    const { status, out, err } = await wpo(...args(url, folder), ...headers);
    if (where !== 'chat') expect(status).toBe(1);
    if (name === 'run') writeFileSync(join(folder, 'run.yaml'), ''); // the user's own file has the address
    const written = `${out}\n${err}\n${allText(folder)}`;
    if (where === 'chat' && name !== 'reward' && name !== 'score') expect(written).toContain('***'); // the server did repeat them
    for (const form of FORMS) expect(written).not.toContain(form);
  },
);

test.each([
  ['ada:planted-p4ss@host:8000/v1'],
  ['http//ada:planted-p4ss@host'],
  ['ftp://ada:planted-p4ss@host'],
  ['http://ada:planted-p4ss@host:99999'],
  ['http://ada:planted-p4ss@[host'],
  ['http://ada:planted%-p4ss@127.0.0.1:1'],
])('the error about the address %s shows no password and no stack', async (url) => {
  const folder = temporaryFolder();
  writeRows(join(folder, 'prompts.jsonl'), [{ prompt: 'Ask', prompt_id: 'a' }]);
  writeRows(join(folder, 'answers.jsonl'), answers);
  for (const [name, args] of commands.slice(0, 4)) {
    const { status, out, err } = await wpo(...args(url, folder), '--retries', '0');
    expect(status, name).toBe(1);
    expect(out + err).not.toMatch(/p4ss| {4}at |fault of wpo/);
    expect(err).toMatch(/server address: expected an http|expected a reply, found/);
  }
});

test.each([
  [['--headers', 'planted-p4ss'], /^--headers: expected headers as name=value, found another text\./m],
  [['--headers', 'a b=planted-p4ss'], /^headers: expected the name of a header that can be set, found "a b"/m],
  [['--headers', 'x=planted-p4ss\n'], /^headers: x: expected visible ASCII characters only/m],
  [
    // biome-ignore lint/suspicious/noTemplateCurlyInString: as the user writes it
    ['--headers', 'x=planted-p4ss ${NOT_SET_HERE}'],
    /^headers: x: expected the environment variable NOT_SET_HERE, found none/m,
  ],
  [['--request', 'n'], /^--request: expected fields and their values, e\.g\. reasoning_effort=low, found "n"/m],
  [
    ['--request', 'stream=true'],
    /^request: stream: expected a field other than model, messages, n, stream, found stream\./m,
  ],
])('%j is an error that shows no value of a header', async (flags, message) => {
  const folder = temporaryFolder();
  writeRows(join(folder, 'prompts.jsonl'), [{ prompt: 'Ask', prompt_id: 'a' }]);
  const [, args] = commands[0]!;
  const { status, out, err } = await wpo(...args('http://127.0.0.1:1', folder), ...flags);
  expect(status).toBe(1);
  expect(err).toMatch(message);
  expect(out + err).not.toMatch(/p4ss/);
});
