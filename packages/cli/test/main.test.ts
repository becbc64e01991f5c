import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { version } from '../package.json';
import { main } from '../src/main';
import { goldenConfig, temporaryFolder } from './golden';
import { capture, wpo } from './wpo';

afterEach(() => void vi.unstubAllEnvs());

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
  [['tarin'], /^tarin: unknown command. Expected one of run, sample, .*, doctor\. Did you mean "wpo train"\?\n/],
  [['finetune'], /^finetune: unknown command. .* Did you mean "wpo train"\?\n/],
  [['frobnicate'], /^frobnicate: unknown command. Expected one of run, .*, doctor\.\n/],
  [['train'], /^expected the path of a YAML file after the command, found nothing\./],
  [['weigh', '--model', 'm', '--out', 'o'], /^--pairs: this flag is required: --pairs <data>\n/],
  [
    ['weigh', '--model', 'm', '--out', 'o', '--pairs', 'p', '--beta', '0'],
    /^--beta: expected a number above 0, found "0"\./,
  ],
  [
    ['weigh', '--model', 'm', '--out', 'o', '--pairs', 'p', '--completion', 'x'],
    /^--completion: expected one of paper, trl, turn, found "x"\./,
  ],
  [
    ['generate', '--model', 'm', '--prompt', 'p', '--max-new-tokens', '1.5'],
    /^--max-new-tokens: expected a whole number from 1 to 1048576, found "1.5"\./,
  ],
  [
    ['generate', '--model', 'm', '--prompt', 'p', '--prompts', 'f'],
    /^--prompt: expected without --prompts, found both\./,
  ],
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
  expect(err).toMatch(/^\/nowhere: .*found nothing: there is no such folder.*\n$/);
});

/** Runs `wpo` with a terminal on which every result fails to print. */
async function wpoWithFault(fault: unknown, ...args: string[]) {
  const terminal = capture();
  const stdout = {
    write() {
      throw fault;
    },
  };
  const status = await main(args, { stdout, stderr: terminal.stderr });
  return { status, err: terminal.err() };
}

test('a fault of the program is a request to report it, with the stack in a file and without keys', async () => {
  const folder = temporaryFolder();
  vi.stubEnv('TMPDIR', folder);
  vi.stubEnv('WPO_API_KEY', 'planted-key');
  const fault = new TypeError('no such thing: planted-key');
  const args = ['--version', 'http://me:planted@host/v1?api-key=planted', '--set', 'api_key=planted', 'two words'];
  const { status, err } = await wpoWithFault(fault, ...args);
  const [file] = readdirSync(folder);
  expect(status).toBe(1);
  expect(err.split('\n')).toEqual([
    'This is a fault of wpo, not of your input: TypeError: no such thing: ***',
    `Please report it where you got wpo, with these lines and the file ${join(folder, file!)}:`,
    `  wpo ${version}, Node ${process.versions.node}, ${process.platform}-${process.arch}`,
    "  wpo --version 'http://***@host/v1?api-key=***' --set api_key=*** 'two words'",
    '',
  ]);
  const stack = readFileSync(join(folder, file!), 'utf8');
  expect(stack).toMatch(/TypeError: no such thing: \*\*\*\n {4}at /);
  expect(stack).not.toContain('planted');
});

test('with WPO_DEBUG=1 the stack is printed', async () => {
  vi.stubEnv('WPO_DEBUG', '1');
  const { err } = await wpoWithFault(new RangeError('no'), '--version');
  expect(err).toContain('This is a fault of wpo, not of your input: RangeError: no\nPlease report it');
  expect(err).toMatch(/^ {2}wpo --version\nRangeError: no\n {4}at /m);
});

test.each([undefined, null, 'text', { code: 5 }, Object.create(null), Symbol('s'), hostileValue()])(
  'a thrown value that is not an error is reported, too',
  async (value) => {
    vi.stubEnv('TMPDIR', temporaryFolder());
    const { status, err } = await wpoWithFault(value, '--version');
    expect(status).toBe(1);
    expect(err).toMatch(/^This is a fault of wpo, not of your input: Uncaught value/);
  },
);

/** An object that throws whatever is read. */
function hostileValue(): object {
  const fail = () => {
    throw new Error('hostile');
  };
  return new Proxy({}, { get: fail, has: fail, ownKeys: fail, getPrototypeOf: fail });
}

test('an error of the system is one line that says what to do', async () => {
  const full = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC', syscall: 'write' });
  expect((await wpoWithFault(full, '--version')).err).toBe(
    'write: the disk is full. Free disk space, or use another path. (ENOSPC)\n',
  );
});
