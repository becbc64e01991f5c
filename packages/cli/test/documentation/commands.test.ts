import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { root } from '../../../../docs/.vitepress/pages';
import { planRun } from '../../src/run/plan';
import { rewriteArguments } from '../../src/schemas/arguments';
import { checkFlags, createCommand } from '../../src/schemas/flags';
import { isRunFile } from '../../src/schemas/inspect';
import { COMMANDS } from '../../src/schemas/reference';
import { readTrainConfig } from '../../src/schemas/train';
import { temporaryFolder } from '../golden';
import { blocksIn, LANGUAGES, notChecked } from './blocks';
import { commandsOf } from './shell';

// The commands and configurations in the documentation are ones that the programs take. walks.test.ts runs those of some pages.

const folder = temporaryFolder();
const scripts = Object.keys(
  (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: Record<string, string> }).scripts,
);

/** A file of `wpo train` that has only the keys that it must have. */
const minimal = join(folder, 'run.yaml');
writeFileSync(minimal, 'model_name_or_path: model\ntrain_file: pairs.jsonl\noutput_dir: out\n');

/** Programs of others, whose arguments are not checked. */
const OTHERS = ['git', 'grep', 'head', 'jq', 'mkdir', 'ollama', 'pip', 'transformers', 'vllm', 'xdg-open', 'yes'];

/** Checks that a program takes its arguments. @throws Error if it does not */
async function check([program, ...args]: readonly string[], page: string): Promise<void> {
  const [first = '', ...rest] = args;
  if (program === 'wpo') return checkWpo(args);
  if (program === 'npx' && first === 'wpo') return checkWpo(rest);
  if (program === 'npx' && first === 'wpo-tensorflow') return expect(rest[0]).toBe('install');
  if (program === 'npx' && first === 'vitest') return checkFiles(rest.slice(1), page);
  if (program === 'npm') return checkNpm(args);
  if (['mpirun', 'mpiexec', 'srun'].includes(program!)) return checkStarted(args);
  if (program === 'time') return check(rest, page); // after -v
  if (program === 'node' && first === 'packages/cli/bin/wpo.mjs') return checkWpo(rest);
  if (program === 'node' || program === 'python')
    return checkFiles(args.filter((arg) => !arg.startsWith('-')).slice(0, 1), page);
  expect(OTHERS).toContain(program);
}

/** The command that `mpirun` and its like start, after their own flags: one of wpo, or a program of the reader's. */
function checkStarted(args: readonly string[]): void | Promise<void> {
  const start = args.findIndex((arg) => ['wpo', 'node'].includes(arg));
  expect(start).toBeGreaterThan(0);
  if (args[start] === 'wpo') return checkWpo(args.slice(start + 1));
}

function checkNpm([command, ...args]: readonly string[]): void | Promise<void> {
  if (command !== 'run') return expect(['install', 'i', 'test']).toContain(command);
  const [script, ...rest] = args.filter((arg) => arg !== '-s');
  expect(scripts).toContain(script);
  if (script === 'wpo') return checkWpo(rest.slice(1)); // after --
}

/** Files of this repository exist; those that a run or another program made are in folders of theirs. */
function checkFiles(files: readonly string[], page: string): void {
  for (const file of files.filter((path) => !/^(node_modules|llama\.cpp)\//.test(path))) {
    expect(
      [root, join(root, dirname(page))].some((from) => existsSync(join(from, file))),
      file,
    ).toBe(true);
  }
}

async function checkWpo([name, ...args]: readonly string[]): Promise<void> {
  const schema = COMMANDS.find((one) => one.name === name);
  if (schema === undefined) throw new Error(`wpo has no command ${name}.`);
  let values: Readonly<Record<string, unknown>> = {};
  const command = createCommand(schema, async (parsed) => {
    values = parsed as typeof values;
  });
  await command
    .exitOverride()
    .configureOutput({ writeErr: () => {} })
    .parseAsync(rewriteArguments(schema, args), { from: 'user' });
  if (!schema.configFile) checkFlags(schema, values as never);
  const file = (values.config ?? values.file) as string | undefined;
  if (file === undefined || !isRunFile(file)) return;
  const inRepository = join(root, file);
  const set = values.set as string[];
  if (name === 'run') await planRun(existsSync(inRepository) ? inRepository : join(root, 'recipes/hybrid.yaml'), set);
  else await readTrainConfig(existsSync(inRepository) ? inRepository : minimal, set);
}

test.each(blocksIn('sh'))('the commands of $name exist and take their arguments', async ({ code, page }) => {
  const commands = commandsOf(code);
  expect(commands.length).toBeGreaterThan(0);
  for (const command of commands) {
    try {
      await check(command, page);
    } catch (error) {
      throw new Error(`${command.join(' ')}: ${(error as Error).message}`, { cause: error });
    }
  }
});

test.each(blocksIn('yaml'))('$name is a configuration', async ({ code, name }) => {
  const file = join(folder, `${name.replaceAll(/\W+/g, '-')}.yaml`);
  if (/^(sample|score|pair|train|eval):/m.test(code)) {
    writeFileSync(file, code);
    await planRun(file);
    return;
  }
  const missing = readFileSync(minimal, 'utf8')
    .split('\n')
    .filter((line) => !code.includes(`${line.split(':')[0]}:`));
  writeFileSync(file, `${code}${missing.join('\n')}`);
  await readTrainConfig(file);
});

test.each(blocksIn('json', 'jsonl'))('$name is JSON', ({ code, language }) => {
  for (const value of language === 'jsonl' ? code.trim().split('\n') : [code])
    expect(() => JSON.parse(value)).not.toThrow();
});

test('every language is checked here, in e2e/readme.test.ts, or in packages/data/test/guide.test.ts', () => {
  expect(LANGUAGES.sort()).toEqual(['', 'csv', 'js', 'json', 'jsonl', 'python', 'sh', 'ts', 'yaml']);
});

test('few blocks are not checked, each for a reason', () => {
  expect(notChecked.map(({ reason }) => reason)).toEqual(['it changes settings of the machine', 'a file of pnpm']);
});
