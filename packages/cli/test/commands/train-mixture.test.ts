import '@wpo/tensorflow';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { EncodedPair } from '@wpo/data';
import { expect, test } from 'vitest';
import { type RunInspection, readTrainConfig } from '../../src/index';
import { readRunPairs } from '../../src/pairs';
import { goldenConfig, pairsFile, readMetrics, temporaryFolder, timeless, trainFrom } from '../golden';
import { capture, wpo } from '../wpo';

/** A run over the fixture's 16 pairs as two sources, of 12 pairs and of 4. */
function mixture(shares: string, more = ''): { readonly folder: string; readonly config: string } {
  const folder = temporaryFolder();
  const lines = readFileSync(pairsFile, 'utf8').trimEnd().split('\n');
  writeFileSync(join(folder, 'large.jsonl'), lines.slice(0, 12).join('\n'));
  const renamed = lines.slice(12).map((line) => {
    const { chosen, ...row } = JSON.parse(line);
    return JSON.stringify({ ...row, best: chosen });
  });
  writeFileSync(join(folder, 'small.jsonl'), renamed.join('\n'));
  const config = goldenConfig(folder);
  const [large, small] = shares.split('|');
  const sources = `[{path: large.jsonl${large}}, {path: small.jsonl, columns: {chosen: best}${small}}]`;
  const text = readFileSync(config, 'utf8').replace(
    `train_file: ${pairsFile}`,
    () => `train_file: ${sources}\n${more}`,
  );
  writeFileSync(config, text.replace('shuffle: false', 'shuffle: true'));
  return { folder, config };
}

/** Pairs of an epoch by source, different ones and all. */
async function pairsOf(shares: string, more = '') {
  const { folder, config } = mixture(shares, more);
  const terminal = capture();
  const { train, held } = await readRunPairs(await readTrainConfig(config), terminal);
  const counts = ['large', 'small'].map((name) => {
    const own = train.filter(({ at }) => at.file === join(folder, `${name}.jsonl`));
    return [new Set(own).size, own.length];
  });
  return { counts, held, err: terminal.err().replaceAll(`${folder}/`, '') };
}

test('sources are cut or repeated to their shares', async () => {
  const even = ', share: 1|, share: 1';
  expect((await pairsOf('|')).counts).toEqual([[12, 12], [4, 4]]); // biome-ignore format: one table
  const cut = await pairsOf(even);
  expect(cut.counts).toEqual([[4, 4], [4, 4]]); // biome-ignore format: one table
  expect(cut.err).toBe('large.jsonl: 12 pairs; 4 (50.0 %) of an epoch\nsmall.jsonl: 4 pairs; 4 (50.0 %) of an epoch\n');
  expect((await pairsOf(even, 'mixing: repeat')).counts).toEqual([[12, 12], [4, 12]]); // biome-ignore format: one table
});

test('held-out pairs are taken before the mixture, so that none of them is trained on', async () => {
  const { counts, held } = await pairsOf(', share: 1|, share: 1', 'mixing: repeat\neval_split: 6');
  expect(held).toHaveLength(6);
  expect(counts.reduce((sum, [different]) => sum + different!, 0)).toBe(10);
  expect(counts[0]![1]).toBe(counts[1]![1]);
  await expect(pairsOf(', share: 1|, share: 1', 'eval_split: 15')).rejects.toThrow(
    'found none beside the held-out pairs',
  );
});

test.each([
  [', share: 1|', ': train_file: expected a share for each source, or for none, found no share for small.jsonl.'],
  [', share: 0|, share: 1', ': train_file: expected the path of a file or folder, a glob, or org/name'],
  [', shares: 1|', ': train_file: expected the path of a file or folder, a glob, or org/name'],
])('shares %j are refused', async (shares, message) => {
  await expect(pairsOf(shares)).rejects.toThrow(message);
});

test('a run over a mixture that repeats pairs resumes to the same bits, and has the reference of each pair once', async () => {
  const { folder, config } = mixture(', share: 1|, share: 1', 'mixing: repeat');
  const whole = `output_dir=${join(folder, 'whole')}`;
  expect(await trainFrom({ config, set: [whole, 'max_steps=4'] }, capture())).toBe(0);
  const parts = `output_dir=${join(folder, 'parts')}`;
  expect(await trainFrom({ config, set: [parts, 'max_steps=2'] }, capture())).toBe(0);
  const terminal = capture();
  expect(await trainFrom({ config, set: [parts, 'max_steps=4'], resume: true }, terminal)).toBe(0);
  expect(terminal.out()).toContain('Training on 24 pairs');
  const weights = (run: string) => readFileSync(join(folder, run, 'checkpoint-4/model.safetensors'));
  expect(weights('parts').equals(weights('whole'))).toBe(true);
  const references = join(folder, 'whole/reference');
  const [file] = readdirSync(references);
  expect(readFileSync(join(references, file!), 'utf8').trimEnd().split('\n').length).toBeLessThan(20); // 16 and a header
  const [own, before] = [`${whole}x`, 'precompute_ref_log_probs=false'];
  expect(await trainFrom({ config, set: [own, before, 'max_steps=2'] }, capture())).toBe(0);
  expect(timeless(readMetrics(join(folder, 'wholex'))).map(({ loss }) => loss)).toEqual(
    timeless(readMetrics(join(folder, 'whole')).slice(0, 2)).map(({ loss }) => loss),
  );
  const other = mixture(', share: 1|, share: 2', 'mixing: repeat').config;
  writeFileSync(config, readFileSync(other, 'utf8'));
  await expect(trainFrom({ config, set: [parts, 'max_steps=4'], resume: true }, capture())).rejects.toThrow(
    'train_file',
  );
});

test('wpo inspect shows the sources, the held-out pairs and the pairs of an epoch, as training takes them', async () => {
  const { folder, config } = mixture(', share: 1|, share: 1', 'mixing: repeat\neval_split: 2');
  const { train, held } = await readRunPairs(await readTrainConfig(config), capture());
  const { status, out } = await wpo('inspect', config, '--json', '--html', join(folder, 'page.html'));
  const found = JSON.parse(out) as RunInspection;
  expect([status, found.train.pairs, found.held!.pairs]).toEqual([0, train.length, held.length]);
  expect(found.sources.map(({ file, pairs, epochShare }) => [file, pairs, epochShare])).toEqual([
    [join(folder, 'large.jsonl'), 12, 0.5],
    [join(folder, 'small.jsonl'), 4, 0.5],
  ]);
  const kept = ({ prompt, chosen, rejected }: EncodedPair) => prompt.length + chosen.length + rejected.length;
  const { lengths, cuts, verdict } = found.train;
  const whole = train.length * (lengths.prompt!.mean + lengths.chosen!.mean + lengths.rejected!.mean);
  const cut = cuts!.promptTokens + cuts!.answerTokens;
  expect(whole - cut).toBeCloseTo(
    train.map(kept).reduce((sum, n) => sum + n, 0),
    6,
  );
  expect(verdict.next).toBe(`wpo plan ${config}`);
  const text = (await wpo('inspect', config, '--set', 'eval_split=3')).out;
  expect(text).toContain(`held-out pairs of ${config}: 3 pairs\n`);
  expect(text).toContain(`Next: wpo plan ${config} --set eval_split=3`);
  expect(text).toMatch(
    /large\.jsonl: 12 pairs\n[\s\S]*small\.jsonl: 4 pairs\n[\s\S]*training pairs of .*: \d+ pairs\n/,
  );
});

test('wpo inspect refuses flags that a run’s file replaces, and --set without one', async () => {
  const { config } = mixture('|');
  const both = await wpo('inspect', config, '--max-length', '100', '--tokenizer', 'model');
  expect(both.status).toBe(1);
  expect(both.err).toContain('--max-length: expected no value with the YAML file of wpo train, found 100.');
  const columns = (await wpo('inspect', config, '--columns', 'prompt=question')).err;
  expect(columns).toContain('expected no value with the YAML file of wpo train, found {"prompt":"question"}.');
  expect(both.err).toContain('--tokenizer: expected no value with the YAML file of wpo train, found model.');
  expect((await wpo('inspect', pairsFile, '--set', 'seed=1')).err).toContain(
    `--set: expected the YAML file of wpo train with it, found ${pairsFile}.`,
  );
});

test('eval_file may be a list of sources, each with its columns; prompts that are trained on too are reported', async () => {
  const { folder, config } = mixture(
    '|',
    'eval_file: [{path: large.jsonl}, {path: small.jsonl, columns: {chosen: best}}]',
  );
  const { held } = await readRunPairs(await readTrainConfig(config), capture());
  expect(held.map(({ at }) => at.file)).toEqual([
    ...new Array(12).fill(join(folder, 'large.jsonl')),
    ...new Array(4).fill(join(folder, 'small.jsonl')),
  ]);
  const { out } = await wpo('inspect', config);
  expect(out).toContain('16 rows whose prompt is trained on too');
});
