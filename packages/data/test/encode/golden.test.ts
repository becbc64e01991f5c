import { existsSync, readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { encodePair, truncatePair } from '../../src/encode/encode-pair';
import { formatPair } from '../../src/encode/format-pair';
import { loadPairs, loadTokenizerFolder, readRows } from '../../src/node';
import { collect, fixture, type Ids, readJson } from '../fixtures';

interface Golden {
  tokens: { text: string; ids: number[] }[];
  formats: Record<'paper' | 'trl' | 'turn', Ids[]>;
  truncation: { limits: { max_length: number; max_prompt_length: number } } & Record<'paper' | 'keep_start', Ids[]>;
}

// every folder beside fixtures/tiny with a tokenizer, pairs.jsonl and expected.json is tested
const folders = readdirSync(fixture('.')).filter((name) => existsSync(fixture(`${name}/expected.json`)));

describe.each(folders)('the golden values of %s', (folder) => {
  const golden = readJson<Golden>(`${folder}/expected.json`);
  const load = async () => ({
    rows: await collect(readRows(fixture(`${folder}/pairs.jsonl`))),
    text: await loadTokenizerFolder(fixture(folder)),
  });

  it('token ids', async () => {
    const { tokenizer } = (await load()).text;
    expect(golden.tokens.map(({ text }) => ({ text, ids: tokenizer.encode(text) }))).toEqual(golden.tokens);
  });

  it.each(['paper', 'trl', 'turn'] as const)('completion %s', async (completion) => {
    const { rows, text } = await load();
    expect(rows.map((row) => formatPair(row, { ...text, completion }))).toEqual(golden.formats[completion]);
  });

  it.each(['paper', 'keep_start'] as const)('truncation %s', async (truncation) => {
    const { rows, text } = await load();
    const { max_length: maxLength, max_prompt_length: maxPromptLength } = golden.truncation.limits;
    const options = { truncation, maxLength, maxPromptLength };
    expect(rows.map((row) => truncatePair(formatPair(row, text), options))).toEqual(golden.truncation[truncation]);
    const pairs = rows.map((row) => encodePair(row, { ...text, ...options }));
    const lists = pairs.map(({ prompt, chosen, rejected }) => ({
      prompt: Array.from(prompt),
      chosen: Array.from(chosen),
      rejected: Array.from(rejected),
    }));
    expect(lists).toEqual(golden.truncation[truncation]);
  });

  it('paper format and truncation are the defaults', async () => {
    const { rows, text } = await load();
    const { pairs, skipped } = await loadPairs(fixture(`${folder}/pairs.jsonl`), text);
    expect(skipped).toEqual([]);
    expect(pairs.map(({ id }) => id)).toEqual(rows.map(({ id }) => id));
    expect(pairs.map(({ chosen }) => Array.from(chosen))).toEqual(golden.formats.paper.map(({ chosen }) => chosen));
  });
});

it('the values of the tiny model are tested', () => {
  expect(folders).toContain('tiny');
});
