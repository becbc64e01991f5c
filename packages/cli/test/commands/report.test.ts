import '@wpo/tensorflow';
import { appendFileSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PageData } from '@wpo/report';
import type { PairRow } from '@wpo/trainer';
import { beforeAll, expect, test } from 'vitest';
import { tokenScores } from '../../src/report/recordings';
import { goldenConfig, pairsFile, temporaryFolder, trainFrom } from '../golden';
import { capture, readRows, wpo, writeRows } from '../wpo';

/** The data that a page embeds. */
const dataOf = (page: string): PageData =>
  JSON.parse(/<script type="application\/json" id="data">(.*?)<\/script>/s.exec(readFileSync(page, 'utf8'))![1]!);

const folder = temporaryFolder();
const run = join(folder, 'run');
const terminal = capture();

beforeAll(async () => {
  const rows = readRows<object>(pairsFile).map((row, i) => ({
    ...row,
    id: `pair ${i} </script>`,
    source: `s${i % 2}`,
  }));
  writeRows(join(folder, 'pairs.jsonl'), rows);
  const set = [`train_file=${join(folder, 'pairs.jsonl')}`, 'eval_split=4', 'max_steps=3', 'learning_rate=1e-9'];
  expect(await trainFrom({ config: goldenConfig(folder), set }, terminal)).toBe(0);
});

test('training ends with a report of its metrics, weights, answers, tokens, settings and environment', () => {
  expect(terminal.err()).not.toContain('could not be written');
  expect(terminal.out()).toContain(`report         ${join(run, 'report.html')}`);
  const [report, ...others] = dataOf(join(run, 'report.html')).runs;
  expect(others).toEqual([]);
  expect(report).toMatchObject({ name: 'run', status: 'finished' });
  expect(report!.training.map(({ step }) => step)).toEqual([1, 2, 3]);
  expect(report!.evaluations.map(({ step }) => step)).toEqual([0, 3]);
  expect(report!.weights!.bySource.map(({ source, pairs }) => [source, pairs]).sort()).toEqual([
    ['s0', expect.any(Number)],
    ['s1', expect.any(Number)],
  ]);
  expect(report!.samples).toHaveLength(3);
  for (const { answers } of report!.samples) expect(answers.map(({ step }) => step)).toEqual([0, 3]);
  expect(report!.settings).toContainEqual({ key: 'max_steps', value: '3', isDefault: false });
  expect(report!.settings).toContainEqual({ key: 'stop_on_collapse', value: 'false', isDefault: true });
  expect(Object.fromEntries(report!.environment)).toMatchObject({ TensorFlow: expect.stringMatching(/^\d+\./) });
});

test('the pairs of lowest and highest weight have the log-probs that training logs, token by token', () => {
  const { scored } = dataOf(join(run, 'report.html')).runs[0]!;
  const rows = readRows<PairRow>(join(run, 'pairs.jsonl'));
  const weights = rows.map(({ weight }) => weight).sort((a, b) => a - b);
  expect(rows).toHaveLength(12); // three steps of four pairs, an epoch
  expect(scored.map(({ rank }) => rank)).toEqual(['lowest', 'lowest', 'lowest', 'highest', 'highest', 'highest']);
  expect(scored.map(({ weight }) => weight)).toEqual([...weights.slice(0, 3), ...weights.slice(-3).reverse()]);
  for (const { id, chosen, rejected } of scored) {
    const row = rows.find((one) => one.id === id)!;
    const sum = chosen.reduce((total, { logp }) => total + logp, 0);
    expect(Math.abs(sum / row.chosen_logps - 1)).toBeLessThan(1e-4); // at this learning rate the model hardly changes
    for (const { alignment } of [...chosen, ...rejected]) expect(alignment).toBeLessThanOrEqual(0);
  }
});

test('wpo report writes the same page from the folder alone', async () => {
  const copy = join(temporaryFolder(), 'run');
  cpSync(run, copy, { recursive: true, filter: (path) => !/checkpoint|model\.safetensors|report\.html/.test(path) });
  const { status, out } = await wpo('report', copy);
  expect([status, out]).toEqual([0, `Report of 1 run: ${join(copy, 'report.html')}\n`]);
  expect(readFileSync(join(copy, 'report.html'), 'utf8')).toBe(readFileSync(join(run, 'report.html'), 'utf8'));
});

test('a run that has only metrics has a report of them, and several runs share a page', async () => {
  const other = join(temporaryFolder(), 'other');
  mkdirSync(other);
  cpSync(join(run, 'metrics.jsonl'), join(other, 'metrics.jsonl'));
  appendFileSync(join(other, 'metrics.jsonl'), '{"step": 4, "lo'); // killed
  const out = join(folder, 'new', 'both.html');
  const { status } = await wpo('report', run, other, '--out', out);
  expect(status).toBe(0);
  const { runs } = dataOf(out);
  expect(runs.map(({ name, status: found }) => [name, found])).toEqual([
    ['run', 'finished'],
    ['other', 'not finished'],
  ]);
  expect(runs[1]!.training).toEqual(runs[0]!.training);
  expect(runs[1]).not.toHaveProperty('weights');
  expect(runs[1]).toMatchObject({ scored: [], samples: [], settings: [], environment: [] });
});

test('a folder without a run, and damaged data of a report, are named', async () => {
  const empty = temporaryFolder();
  const missing = await wpo('report', empty);
  expect(missing.status).toBe(1);
  expect(missing.err).toBe(
    `${empty}: expected the folder of a run, with a file metrics.jsonl, found none. Give the output_dir of wpo train or of wpo run.\n`,
  );
  const copy = join(temporaryFolder(), 'run');
  cpSync(run, copy, { recursive: true });
  rmSync(join(copy, 'report.html'));
  writeFileSync(join(copy, 'report', 'answers.json'), '[{"prompt": 1}]');
  const damaged = await wpo('report', copy);
  expect([damaged.status, damaged.err]).toEqual([
    1,
    `${copy}/report/answers.json: expected what wpo train writes there, found other JSON. Remove the file: the report then leaves this part out.\n`,
  ]);
  expect(existsSync(join(copy, 'report.html'))).toBe(false);
});

test('tokens that form one character together count as one, with the sums of their numbers', () => {
  const bytes = [0x61, 0xe2, 0x82, 0xac, 0xff, 0x62];
  const decode = (ids: ArrayLike<number>) => new TextDecoder().decode(Uint8Array.from(ids));
  const scores = tokenScores({ decode }, Int32Array.from(bytes), (t) => [-t, -1]);
  expect(scores).toEqual([
    { text: 'a', logp: 0, alignment: -1 },
    { text: '€', logp: -6, alignment: -3 },
    { text: '\ufffd', logp: -4, alignment: -1 },
    { text: 'b', logp: -5, alignment: -1 },
  ]);
});
