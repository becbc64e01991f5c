import '@wpo/tensorflow';
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { modelFolder, temporaryFolder } from './golden';
import { WRONG_PLURAL, wpo, writeRows } from './wpo';

// A terminal acts on control characters, and shows text backwards after U+202E. No text from a file, an argument or a server may
// bring one to the terminal.

const EVIL = 'evil\x1b[2J\x1b]0;title\x07\u009b31m\u202etxt';
/** Everything that Unicode calls a control character, except line breaks and tabs, and the bidirectional controls. */
const UNSAFE = /(?![\n\t])[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/u;

const dir = temporaryFolder();
const at = (name: string) => join(dir, name);
const evilModel = at(`model ${EVIL}`);

const pair = (fields: object) => ({ prompt: 'Name a river.', chosen: 'The Danube.', rejected: 'A lake.', ...fields });
const answer = (fields: object) => ({
  prompt_id: 'a',
  prompt: 'Ask',
  completion: 'x',
  source: 'm',
  seed: 1,
  ...fields,
});
const annotation = {
  instruction: EVIL,
  output_1: EVIL,
  generator_1: `${EVIL}1`,
  dataset: EVIL,
  output_2: 'b',
  generator_2: `${EVIL}2`,
  annotator: EVIL,
  preference: 1.5,
};

const rows: Readonly<Record<string, readonly unknown[]>> = {
  'texts.jsonl': [pair({ prompt: EVIL, chosen: `${EVIL} yes`, rejected: `${EVIL} no`, prompt_id: EVIL, source: EVIL })],
  'sources.jsonl': ['1', '2'].map((n) =>
    pair({ prompt_id: EVIL + n, chosen_source: EVIL, source: EVIL + n, dataset: EVIL }),
  ),
  'empty.jsonl': [pair({ prompt_id: EVIL, chosen: '' })],
  'type.jsonl': [pair({ prompt_id: EVIL, chosen: [{ role: EVIL, content: EVIL }] })],
  'columns.jsonl': [{ [EVIL]: EVIL, [`${EVIL}2`]: 1 }],
  'ties.jsonl': [pair({ prompt_id: EVIL, chosen: 'same', rejected: 'same' })],
  'scored.jsonl': [1, 2].map((seed) =>
    answer({ prompt_id: EVIL, prompt: EVIL, completion: `${EVIL}${seed}`, source: EVIL, seed, score: seed }),
  ),
  'unscored.jsonl': [answer({ prompt_id: EVIL, source: EVIL })],
  'answers.jsonl': [1, 2].map((seed) => answer({ prompt_id: EVIL, prompt: EVIL, source: EVIL, seed })),
  'rewards.jsonl': [{ prompt_id: EVIL, source: EVIL, seed: 1, score: EVIL }],
  'twice.jsonl': [
    answer({ prompt_id: EVIL, source: EVIL }),
    answer({ prompt_id: EVIL, source: EVIL, completion: 'y' }),
  ],
  'prompts.jsonl': [{ prompt: EVIL, prompt_id: EVIL }],
  'roles.jsonl': [{ prompt: [{ role: EVIL, content: EVIL }], prompt_id: EVIL }],
};
const texts: Readonly<Record<string, string>> = {
  'text.jsonl': `${EVIL}\n`,
  'cut.jsonl': `{"prompt": "${'\x1b[2J'}\n`,
  'annotations.json': JSON.stringify([annotation]),
  'outputs.json': JSON.stringify([{ instruction: EVIL, output: EVIL, generator: EVIL, dataset: EVIL }]),
  'key.yaml': `${JSON.stringify(EVIL)}: 1\n`,
  'value.yaml': `loss_type: ${JSON.stringify(EVIL)}\nbeta: ${JSON.stringify(EVIL)}\n`,
  'raw.yaml': `beta: ${EVIL}\n`,
  'paths.yaml': `model_name_or_path: ${JSON.stringify(`./${EVIL}`)}\ntrain_file: ${JSON.stringify(`./${EVIL}`)}\noutput_dir: ${JSON.stringify(`./${EVIL}`)}\n`,
  'stages.yaml': `output_dir: out\n${JSON.stringify(EVIL)}: {a: 1}\nsample: ${JSON.stringify(EVIL)}\n`,
  'stage.yaml': `output_dir: out\nsample: {model: ${JSON.stringify(`./${EVIL}`)}, ${JSON.stringify(EVIL)}: 1, prompts: ${JSON.stringify(`./${EVIL}`)}}\n`,
};

/** A server whose replies, errors and name of its model have control characters. */
const server = createServer(({ url = '', method }, response) => {
  if (method === 'GET') {
    const names = url.includes('named') ? [EVIL] : url.includes('many') ? [EVIL, 'other'] : ['judge'];
    return void response.end(JSON.stringify({ data: names.map((id) => ({ id })) }));
  }
  if (url.includes('reject'))
    return void response.writeHead(400).end(JSON.stringify({ error: { message: EVIL, code: EVIL, type: EVIL } }));
  if (url.includes('text')) return void response.end(EVIL);
  response.end(
    JSON.stringify({
      model: EVIL,
      choices: [{ finish_reason: url.includes('reason') ? EVIL : 'stop', message: { content: EVIL } }],
    }),
  );
});
beforeAll(async () => {
  for (const [name, list] of Object.entries(rows)) writeRows(at(name), list);
  for (const [name, text] of Object.entries(texts)) writeFileSync(at(name), text);
  writeRows(at(`pairs ${EVIL}.jsonl`), [pair({}), pair({ chosen: 1 })]);
  cpSync(modelFolder, evilModel, { recursive: true });
  mkdirSync(at(`bad ${EVIL}`));
  writeFileSync(at(`bad ${EVIL}/config.json`), JSON.stringify({ model_type: EVIL, architectures: [EVIL] }));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterAll(() => {
  server.close();
  server.closeAllConnections();
});

/** Runs a command, and checks what it writes. @param words a command line; names of the files above stand for their paths, URLkind for the server */
async function check(words: readonly string[]): Promise<{ readonly status: number; readonly text: string }> {
  const { port } = server.address() as AddressInfo;
  const args = words.map((word) =>
    word.startsWith('URL')
      ? `http://127.0.0.1:${port}/${word.slice(3)}`
      : Object.hasOwn(rows, word) || Object.hasOwn(texts, word)
        ? at(word)
        : word,
  );
  const { status, out, err } = await wpo(...args);
  expect(out + err).not.toBe('');
  expect(out + err).not.toMatch(UNSAFE);
  expect(out + err).not.toMatch(/fault of wpo/);
  expect(out + err).not.toMatch(WRONG_PLURAL);
  return { status, text: out + err };
}

let outputs = 0;
const output = () => ['--out', at(`out-${++outputs}-${EVIL}`)];
const asked = ['--retries', '0'];

/** Commands that show a text with control characters. */
const SHOWN: readonly (readonly string[])[] = [
  ['inspect', at(`pairs ${EVIL}.jsonl`)],
  ['inspect', at(`none ${EVIL}.jsonl`)],
  ['inspect', 'columns.jsonl'],
  ['inspect', 'text.jsonl'],
  ['inspect', 'cut.jsonl'],
  ['inspect', 'type.jsonl'],
  ['inspect', 'empty.jsonl', '--tokenizer', at(`bad ${EVIL}`)],
  ['inspect', 'texts.jsonl', '--columns', `prompt=${EVIL}`],
  ['inspect', 'texts.jsonl', '--columns', EVIL],
  ['inspect', 'texts.jsonl', `--${EVIL}`],
  [EVIL],
  [`wpo${EVIL}`, EVIL],
  ['weigh', '--model', modelFolder, '--pairs', 'texts.jsonl', ...output()],
  ['weigh', '--model', evilModel, '--pairs', 'type.jsonl', ...output()],
  ['weigh', '--model', at(`bad ${EVIL}`), '--pairs', 'texts.jsonl', ...output()],
  ['weigh', '--model', modelFolder, '--pairs', 'texts.jsonl', '--loss-type', EVIL, ...output()],
  ['pair', '--answers', 'scored.jsonl', '--off-policy', 'other', ...output()],
  ['pair', '--answers', 'scored.jsonl', '--off-policy', EVIL, ...output()],
  ['pair', '--answers', 'unscored.jsonl', ...output()],
  ['pair', '--answers', 'twice.jsonl', ...output()],
  ['pair', '--answers', 'scored.jsonl', '--strategy', EVIL, ...output()],
  ['generate', '--model', at(`bad ${EVIL}`), '--prompt', EVIL],
  ['generate', '--model', EVIL, '--prompt', EVIL],
  ['generate', '--model', modelFolder, '--prompts', 'roles.jsonl'],
  ['generate', '--model', modelFolder, '--prompts', 'text.jsonl'],
  ['generate', '--model', modelFolder, '--prompt', 'a', '--max-new-tokens', EVIL],
  ['sample', '--endpoint', 'URL', '--prompts', 'prompts.jsonl', '-n', '2', ...asked, ...output()],
  ['sample', '--endpoint', 'URLnamed', '--prompts', 'prompts.jsonl', ...asked, ...output()],
  ['sample', '--endpoint', 'URLmany', '--prompts', 'prompts.jsonl', ...asked, ...output()],
  ['sample', '--endpoint', 'URLreject', '--prompts', 'prompts.jsonl', ...asked, ...output()],
  ['sample', '--endpoint', 'URLtext', '--prompts', 'prompts.jsonl', ...asked, ...output()],
  ['sample', '--endpoint', `http://127.0.0.1:1/${EVIL}`, '--prompts', 'prompts.jsonl', ...asked, ...output()],
  ['sample', '--endpoint', 'URL', '--prompts', 'prompts.jsonl', '--request', EVIL, ...asked, ...output()],
  ['score', '--answers', 'answers.jsonl', '--rewards', 'rewards.jsonl', ...output()],
  ['score', '--answers', 'answers.jsonl', '--endpoint', 'URLreject', ...asked, ...output()],
  ['score', '--answers', 'answers.jsonl', '--endpoint', 'URLtext', ...asked, ...output()],
  ['score', '--answers', 'answers.jsonl', '--judge', 'URL', ...asked, ...output()],
  ['score', '--answers', 'answers.jsonl', '--judge', 'URLreject', ...asked, ...output()],
  ['score', '--answers', 'twice.jsonl', '--judge', 'URL', '--compare', ...asked, ...output()],
  ['eval', '--annotations', 'annotations.json'],
  [
    'eval',
    '--baseline',
    'outputs.json',
    '--outputs',
    'outputs.json',
    '--judge',
    'URL',
    '--judge-form',
    'verdict',
    ...asked,
    ...output(),
  ],
  ['train', 'key.yaml'],
  ['train', 'value.yaml'],
  ['train', 'raw.yaml'],
  ['train', 'paths.yaml'],
  ['train', at(EVIL)],
  ['train', 'paths.yaml', '--set', `${EVIL}=1`],
  ['train', 'paths.yaml', '--set', `beta=${EVIL}`],
  ['train', 'paths.yaml', '--set', EVIL],
  ['run', 'stages.yaml'],
  ['run', 'stage.yaml'],
  ['run', 'stage.yaml', '--only', EVIL],
  ['run', 'stage.yaml', '--set', `${EVIL}.a=1`],
  ['export', at(EVIL)],
];

test.each(SHOWN.map((words) => [words]))('%j shows control characters as escapes', async (words) => {
  const { text } = await check(words);
  expect(text).toMatch(/\\u001b|\\u009b|\\u202e|%1B|\\x1b/i);
});

/** Commands that succeed although their input has control characters. */
const OTHERS: readonly (readonly string[])[] = [
  ['inspect', 'texts.jsonl'],
  ['inspect', 'texts.jsonl', '--json'],
  ['inspect', 'sources.jsonl', '--tokenizer', evilModel],
  ['inspect', 'sources.jsonl', '--model', evilModel],
  ['inspect', 'ties.jsonl'],
  ['weigh', '--model', evilModel, '--pairs', 'sources.jsonl', ...output()],
  ['pair', '--answers', 'scored.jsonl', ...output()],
  ['generate', '--model', evilModel, '--prompt', EVIL, '--max-new-tokens', '2'],
  ['generate', '--model', evilModel, '--prompt', EVIL, '--max-new-tokens', '2', '--json'],
  ['sample', '--endpoint', 'URLreason', '--prompts', 'prompts.jsonl', '-n', '1', ...asked, ...output()],
  ['eval', '--annotations', 'annotations.json', '--json'],
];

test.each(OTHERS.map((words) => [words]))('%j writes no control character', async (words) => {
  const { status, text } = await check(words);
  expect(status, text).toBe(0);
});
