import '@wpo/tensorflow';
import { cpSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { root } from '../../../../docs/.vitepress/pages';
import { type ScriptedBody, scriptedServer } from '../../../eval/test/scripted-server';
import { modelFolder, pairsFile, temporaryFolder } from '../golden';
import { readRows, wpo, writeRows } from '../wpo';
import { blocksIn } from './blocks';
import { commandsOf } from './shell';

// The `wpo` commands of some pages run, in order, in a folder with what they name: a tiny model in the place of each model, a
// scripted server in the place of each server. e2e/start.test.ts runs those of docs/start.md.

const GUIDES = ['hybrid', 'lora', 'evaluation', 'report', 'events', 'memory', 'from-trl', 'serve', 'parity', 'wpo'];
const PAGES = [...GUIDES.map((name) => `docs/${name}.md`), 'packages/cli/README.md', 'README.md'];

/** Commands that cannot run here. */
const NOT_RUN: readonly (readonly [command: RegExp, reason: string])[] = [
  [/^train recipes\/gemma-2-9b-it-wpo-hb\.yaml/, 'it needs a GPU'],
  [/^run /, 'packages/cli/test/commands/run.test.ts runs such a file'],
  [/^chat /, 'it reads a terminal'],
  [/^doctor/, 'it checks the machine'],
  [/^push /, 'packages/cli/test/commands/push.test.ts runs it against a local hub'],
];

/** What keeps the commands short: a model generates until a limit. Of two equal flags the last one counts. */
const SHORT: Readonly<Record<string, readonly string[]>> = {
  train: ['--set', 'max_steps=2', '--set', 'report_samples=0'],
  sample: ['--max-new-tokens', '8'],
  generate: ['--max-new-tokens', '8'],
  eval: ['--max-new-tokens', '8', '--kl-prompts', '2'],
};

const before = process.cwd();
afterAll(() => process.chdir(before));

const PROMPTS = ['Name a river.', 'Name a planet.'];
const prompts = PROMPTS.map((prompt, i) => ({ prompt_id: `p${i}`, prompt }));

/** Answers as a judge does where it is asked for log-probs, a rating or a verdict, and else as a model that is sampled. */
function chat({ messages, seed, logprobs }: ScriptedBody) {
  const asked = messages!.map(({ content }) => content).join('\n');
  if (logprobs === true) {
    const top = ['m', 'M'].map((token, i) => ({ token, logprob: Math.log(i === 0 ? 0.7 : 0.3) }));
    const content = [{ token: 'm', logprob: -0.1, top_logprobs: top }];
    return { finish_reason: 'length', message: { role: 'assistant', content: 'm' }, logprobs: { content } };
  }
  if (!/rating|verdict/i.test(asked)) return `Answer ${seed}.`;
  const [first = 0, second = 0] = Array.from(asked.matchAll(/Answer (\d+)\./g), ([, number]) => Number(number));
  return `Rating: 5\nVerdict: ${first > second ? 'A' : 'B'}`;
}

let base: string;
let server: string;
beforeAll(async () => {
  server = (await scriptedServer({ chat })).url.replace(/\/v1$/, '');
  base = temporaryFolder();
  process.chdir(base);
  for (const folder of ['models', 'google']) {
    mkdirSync(folder);
    for (const name of ['gemma-2-2b-it', 'gemma-2-9b-it']) symlinkSync(modelFolder, join(folder, name));
  }
  cpSync(join(root, 'recipes'), 'recipes', { recursive: true });
  symlinkSync(join(root, 'demo'), 'demo');
  const trl = { model_name_or_path: 'models/gemma-2-2b-it', dataset_name: './pairs.jsonl', output_dir: 'runs/trl' };
  writeFileSync('config.yaml', JSON.stringify({ ...trl, use_weighting: true, max_length: 128 })); // JSON is YAML
  const rows = readRows(pairsFile).slice(0, 6);
  for (const name of ['pairs', 'train', 'heldout']) writeRows(`${name}.jsonl`, rows);
  writeRows('prompts.jsonl', prompts);
  const answer = { completion: 'Another answer, of another model.', source: 'gpt-4-turbo' };
  for (const [name, score] of [
    ['gpt4', undefined],
    ['gpt4-scored', 1],
  ] as const) {
    writeRows(
      `${name}.jsonl`,
      prompts.map((prompt) => ({ ...prompt, ...answer, score })),
    );
  }
  writeRows(
    'rewards.jsonl',
    Array.from({ length: 10 }, (_, i) => ({ score: i })),
  );
  const outputsTo = (instruction: string) => ({ instruction, output: 'An answer.', generator: 'gpt-4', dataset: 'a' });
  const outputs = PROMPTS.map(outputsTo);
  writeFileSync('gpt4_1106_preview.json', JSON.stringify(outputs));
  writeFileSync('alpaca_eval.json', JSON.stringify([outputsTo('Name a mountain.')])); // overlaps with no pair
  const judged = outputs.map(({ output, ...row }, i) => ({
    ...{ ...row, output_1: output, generator_1: 'gpt-4', output_2: 'Mine.', generator_2: 'mine', preference: 1 + i },
  }));
  writeFileSync('annotations.json', JSON.stringify(judged));
  const keys = { model_name_or_path: 'models/gemma-2-2b-it', train_file: 'pairs.jsonl', output_dir: 'runs/first' };
  const yaml = Object.entries(keys).map(([key, value]) => `${key}: ${value}\n`);
  writeFileSync('run.yaml', yaml.join(''));
  for (const [name, set] of Object.entries({ first: [], lora: ['--set', 'use_peft=true'] })) {
    const { status, err } = await wpo('train', 'run.yaml', '--set', `output_dir=runs/${name}`, ...set);
    expect(status, err).toBe(0);
  }
  for (const name of ['second', 'a', 'hb']) cpSync('runs/first', `runs/${name}`, { recursive: true });
});

/** The command of `npx` or `npm run -s`, or the command itself. */
function withoutRunner(words: readonly string[]): readonly string[] {
  if (words[0] === 'npx') return words.slice(1);
  return words.slice(0, 3).join(' ') === 'npm run -s' ? words.slice(3).filter((word) => word !== '--') : words;
}

/** Removes what a command refuses to replace: on a page, commands that write the same file may be alternatives. */
function makeRoom([command, ...args]: readonly string[]): void {
  const out = args.includes('--out') ? args[args.indexOf('--out') + 1] : undefined;
  if (out !== undefined) rmSync(out, { recursive: true, force: true });
  if (command === 'train' && !args.includes('--resume')) {
    const named = args.find((arg) => arg.startsWith('output_dir='))?.split('=')[1];
    const [, inFile] = /^output_dir: (\S+)/m.exec(readFileSync('run.yaml', 'utf8'))!;
    rmSync(named ?? inFile!, { recursive: true, force: true });
  }
}

test.each(PAGES)('the commands of %s run', async (page) => {
  const folder = temporaryFolder();
  cpSync(base, folder, { recursive: true, verbatimSymlinks: true });
  process.chdir(folder);
  const commands = blocksIn('sh')
    .filter((block) => block.page === page)
    .flatMap(({ code }) => commandsOf(code))
    .map(withoutRunner)
    .filter(([program]) => program === 'wpo')
    .map((words) =>
      words.slice(1).map((word) => word.replace(/http:\/\/localhost:\d+|https:\/\/judge\.example/, server)),
    )
    .filter((words) => !NOT_RUN.some(([pattern]) => pattern.test(words.join(' '))));
  expect(commands.length).toBeGreaterThan(0);
  for (const command of commands) {
    makeRoom(command);
    const { status, out, err } = await wpo(...command, ...(SHORT[command[0]!] ?? []));
    expect(status, `wpo ${command.join(' ')}\n${out}${err}`).toBe(0);
  }
});
