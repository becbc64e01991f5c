import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { version } from '../package.json';
import { main } from '../src/main';
import { goldenConfig, temporaryFolder } from './golden';
import { capture, wpo } from './wpo';

test('--version and --help print to stdout', async () => {
  expect(await wpo('--version')).toEqual({ status: 0, out: `${version}\n`, err: '' });
  const { status, out } = await wpo('--help');
  expect(status).toBe(0);
  for (const command of ['train', 'weigh', 'generate', 'sample', 'score', 'run', 'doctor'])
    expect(out).toContain(`\n  ${command} `);
});

test.each(['train', 'weigh', 'generate', 'sample', 'score', 'run', 'doctor'])(
  'wpo %s --help ends in examples',
  async (command) => {
    const { status, out } = await wpo(command, '--help');
    expect(status).toBe(0);
    expect(out).toContain(`Examples:\n  wpo ${command}`);
  },
);

test('the help of train lists every key with its default', async () => {
  const { out } = await wpo('train', '--help');
  expect(out).toMatch(/^ {2}learning_rate +peak learning rate \(default: 1e-6\)$/m);
  expect(out).toMatch(/^ {2}train_file +preference pairs/m);
});

test.each([
  [['tarin'], /unknown command 'tarin'\n\(Did you mean train\?\)/],
  [['train'], /missing required argument 'config'/],
  [['weigh', '--model', 'm', '--out', 'o'], /required option '--pairs <data>' not specified/],
  [
    ['weigh', '--model', 'm', '--out', 'o', '--pairs', 'p', '--beta', '0'],
    /'0' is invalid. Expected a number above 0./,
  ],
  [
    ['weigh', '--model', 'm', '--out', 'o', '--pairs', 'p', '--completion', 'x'],
    /'x' is invalid. Expected one of paper, trl, turn./,
  ],
  [['generate', '--model', 'm', '--prompt', 'p', '--max-new-tokens', '1.5'], /Expected a whole number of 1 or more./],
  [['generate', '--model', 'm', '--prompt', 'p', '--prompts', 'f'], /cannot be used with option '--prompts <file>'/],
])('%j is an error that says what was expected', async (args, message) => {
  const { status, out, err } = await wpo(...args);
  expect({ status, out }).toEqual({ status: 1, out: '' });
  expect(err).toMatch(message);
});

test('mistakes in a YAML file are reported with their lines, without a stack', async () => {
  const config = join(temporaryFolder(), 'run.yaml');
  writeFileSync(config, 'model_name_or_path: m\ntrain_file: t\noutput_dir: o\nlearning_rte: 1\nbeta: no\n');
  expect(await wpo('train', config)).toEqual({
    status: 1,
    out: '',
    err:
      `${config}:4: learning_rte: unknown key. Did you mean "learning_rate"? \`wpo train --help\` lists all keys.\n` +
      `${config}:5: beta: expected a number above 0, found the text "no". The default is 0.1.\n`,
  });
});

test('a missing model is reported in one line', async () => {
  const config = goldenConfig(temporaryFolder());
  const { status, err } = await wpo('train', config, '--set', 'model_name_or_path=/nowhere');
  expect(status).toBe(1);
  expect(err).toMatch(/^\/nowhere\/tokenizer\.json: .*found no such file.*\n$/);
});

test('an error in the program is reported with its stack', async () => {
  const terminal = capture();
  const broken = {
    ...terminal,
    stdout: Object.assign(Object.create(terminal.stdout), {
      write() {
        throw new TypeError('no such thing');
      },
    }),
  };
  expect(await main(['--version'], broken)).toBe(1);
  expect(terminal.err()).toMatch(/^TypeError: no such thing\n {4}at /);
});
