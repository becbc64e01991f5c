import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gemma2_9b } from '@wpo/gemma';
import { expect, test } from 'vitest';
import { readTrainConfig } from '../../src/index';
import { modelFolder, pairsFile, temporaryFolder } from '../golden';
import { sparseModel } from '../sparse-model';
import { wpo, writeRows } from '../wpo';

// `wpo init --model --data`: the YAML file of a run.

const folder = temporaryFolder();
const run = (name: string, flags: { readonly [flag: string]: string } = {}) => {
  const out = join(folder, name);
  const given = { model: modelFolder, data: pairsFile, out, ...flags };
  const args = Object.entries(given).flatMap(([flag, value]) => [`--${flag}`, value]);
  return wpo('init', ...args).then((result) => ({ ...result, file: out }));
};
const written = async (name: string, flags: { readonly [flag: string]: string } = {}) => {
  const { status, out, err, file } = await run(name, flags);
  expect(status, err).toBe(0);
  return { out, err, file, yaml: readFileSync(file, 'utf8'), config: await readTrainConfig(file) };
};
const pair = (i: number, more = {}) => ({
  prompt: `Name river ${i}.`,
  chosen: 'The Danube.',
  rejected: 'A lake.',
  ...more,
});

test('the file has the settings of the published run, says why on each line, and can be planned', async () => {
  const { out, yaml, config, file } = await written('new/run.yaml');
  expect(out).toContain(`wpo plan ${file}`);
  expect(out).toContain(`wpo train ${file}`);
  expect(config).toMatchObject({
    ...{ modelNameOrPath: modelFolder, trainFile: pairsFile, outputDir: join(folder, 'new/runs/run') },
    ...{ learningRate: 1e-6, beta: 0.01, numTrainEpochs: 2, usePeft: false, lossType: ['sigmoid'], useWeighting: true },
  });
  const settings = yaml.split('\n').filter((line) => /^\w/.test(line));
  expect(settings.length).toBeGreaterThan(15);
  for (const line of settings) expect(line).toMatch(/^\w+: \S.* # \S.+$/);
  const planned = await wpo('plan', file, '--no-time');
  expect(planned.status, planned.err).toBe(0);
});

test('lengths cut nothing that the published run would not cut', async () => {
  const inspected = await wpo('inspect', pairsFile, '--tokenizer', modelFolder, '--json');
  const { longest } = (JSON.parse(inspected.out) as { lengths: { longest: { max: number } } }).lengths;
  const { config } = await written('lengths.yaml');
  expect(config.maxLength).toBeGreaterThanOrEqual(longest.max);
  expect(config.maxLength).toBeLessThan(longest.max + 64);
  expect(config.maxPromptLength).toBeLessThan(config.maxLength);
});

test('all weights are trained if they fit, else those in bfloat16 on a GPU, else an adapter', async () => {
  const model = sparseModel(gemma2_9b);
  const host = await written('host.yaml', { model, 'host-memory': '400GB' });
  expect(host.config).toMatchObject({ usePeft: false, dtype: 'auto' });
  const gpu = await written('gpu.yaml', { model, 'device-memory': '80GB', 'host-memory': '128GB' });
  expect(gpu.config).toMatchObject({ masterWeights: 'exact', offloadOptimizer: 'cpu', usePeft: false });
  const small = await written('small.yaml', { model, 'host-memory': '48GB' });
  expect(small.config).toMatchObject({ usePeft: true, loraTargetModules: ['all-linear'], learningRate: 1e-5 });
  expect(small.yaml).toMatch(/^use_peft: true # .*would take \d+\.\d GB, and there are 48\.0 GB/m);
  const none = await run('none.yaml', { model, 'device-memory': '2GB', 'host-memory': '1GB' });
  expect(none.status).toBe(1);
  expect(none.err).toMatch(/No training of .* fits in memory[\s\S]*expected .* GB of memory, found .* GB/);
  expect(existsSync(none.file)).toBe(false);
});

test('pairs are held out: those of the data’s own split, else a tenth, at most 200', async () => {
  const rows = Array.from({ length: 60 }, (_, i) => pair(i));
  const data = join(folder, 'splits');
  mkdirSync(data);
  writeRows(join(data, 'train.jsonl'), rows);
  expect((await written('tenth.yaml', { data })).config).toMatchObject({ evalSplit: 6 });
  writeRows(join(data, 'test.jsonl'), rows.slice(0, 3));
  expect((await written('own.yaml', { data })).config).toMatchObject({ evalFile: data, datasetTestSplit: 'test' });
  writeRows(join(data, 'few.jsonl'), rows.slice(0, 3));
  const few = await written('few.yaml', { data: join(data, 'few.jsonl') });
  expect(few.config.evalSplit).toBeUndefined();
  expect(few.config.evalSteps).toBeUndefined();
});

test('columns, system turns and rows that cannot be used are in the file', async () => {
  const data = join(folder, 'odd.jsonl');
  const asked = Array.from({ length: 20 }, (_, i) => ({
    question: `What is ${i}?`,
    chosen: 'A number.',
    rejected: 'No.',
  }));
  writeRows(data, [...asked, { question: 'x', chosen: 3 }, { ...asked[0], question: 'Same?', chosen: 'No.' }]);
  const odd = await written('odd.yaml', { data, columns: 'prompt=question' });
  expect(odd.config).toMatchObject({ columns: { prompt: 'question' }, onBadRow: 'skip' });
  expect(odd.yaml).toContain('1 row cannot be used');
  expect(odd.yaml).toContain('1 have equal answers');
  expect(odd.err).toContain('odd.jsonl:21');
  const turns = join(folder, 'system.jsonl');
  const messages = [
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: 'Why?' },
  ];
  writeRows(turns, [{ prompt: messages, chosen: 'So.', rejected: 'Because of that.' }]);
  expect((await written('system.yaml', { data: turns })).config).toMatchObject({ systemRole: 'merge' });
});

test('names of columns with line breaks stay in their comment', async () => {
  const data = join(folder, 'breaks.jsonl');
  writeRows(data, [pair(1, { 'a\nbeta: 9\n': 1, '\u2028push_to_hub: true': 2 })]);
  const { yaml, config } = await written('breaks.yaml', { data });
  expect(config).toMatchObject({ beta: 0.01, pushToHub: false });
  expect(yaml).toContain('rejected, a\\nbeta: 9\\n, \\u2028push_to_hub: true\n');
});

test('a length that memory requires is in the file, and the memory that is said is that of the file', async () => {
  const data = join(folder, 'long.jsonl');
  writeRows(data, [pair(1, { prompt: 'river '.repeat(400), chosen: 'lake '.repeat(300) })]);
  const memory = process.memoryUsage.rss() + 1.4e9;
  const flags = { model: sparseModel(gemma2_9b), data, 'host-memory': `${Math.round(memory / 1e6)}MB` };
  const { out, config, yaml } = await written('long.yaml', flags);
  expect(config).toMatchObject({ usePeft: true, activationCheckpointing: 'always' });
  expect(config.maxLength).toBeLessThan(1024);
  expect(yaml).toMatch(/^max_length: \d+ # .*a longer limit does not fit in memory$/m);
  expect(Number(/It takes ([\d.]+) GB at its peak/.exec(out)![1])).toBeLessThanOrEqual(memory / 1e9 + 0.05); // rounded
});

test('no file is replaced, and the flags of a run and of a model do not mix', async () => {
  const { file, yaml } = await written('kept.yaml');
  const again = await run('kept.yaml');
  expect(again.status).toBe(1);
  expect(again.err).toContain(`--out: expected the path of a YAML file that does not exist, found the file ${file}.`);
  expect(readFileSync(file, 'utf8')).toBe(yaml);
  expect((await run('kept')).err).toContain('which ends in .yaml');
  const [a, b] = [join(folder, 'a.yaml'), join(folder, 'b')];
  expect((await wpo('init', '--out', a)).err).toContain(
    '--model: expected --model and --data, or --preset, found none.',
  );
  expect((await wpo('init', '--preset', 'tiny', '--data', pairsFile, '--out', b)).err).toContain('--data: expected no');
  expect((await run('c.yaml', { seed: '1' })).err).toContain('--seed: expected --preset with it');
  writeFileSync(join(folder, 'bad.jsonl'), '{"a": 1}\n');
  const bad = await run('d.yaml', { data: join(folder, 'bad.jsonl') });
  expect(bad.err).toContain('bad.jsonl: expected preference pairs, found none that can be used.');
  expect(existsSync(join(folder, 'd.yaml'))).toBe(false);
});
