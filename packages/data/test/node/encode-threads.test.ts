import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { fc, test } from '@fast-check/vitest';
import { build } from 'tsup';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type EncodeOptions, encodeRows, type PreferenceRow, RowError, type TextOptions } from '../../src/index';
import { loadTokenizerFolder } from '../../src/node';
import { encodeInThreads, type RowBatch } from '../../src/node/encode-threads';
import { collect, fixture } from '../fixtures';

const dir = mkdtempSync(join(tmpdir(), 'wpo-threads-'));
const worker = pathToFileURL(join(dir, 'encode-worker.mjs'));
const folder = fixture('tiny');
let text: TextOptions;

beforeAll(async () => {
  text = await loadTokenizerFolder(folder);
  await build({
    config: false,
    silent: true,
    entry: [fileURLToPath(new URL('../../src/node/encode-worker.ts', import.meta.url))],
    outDir: dir,
    outExtension: () => ({ js: '.mjs' }),
    format: 'esm',
    platform: 'node',
    noExternal: [/./],
  });
});
afterAll(() => rmSync(dir, { recursive: true }));

type Item = PreferenceRow | RowError;

const at = (line: number) => ({ file: 'pairs.jsonl', line });
const row = (line: number, more: Partial<PreferenceRow> = {}): PreferenceRow => ({
  id: `r${line}`,
  context: [{ role: 'user', content: 'hi' }],
  chosen: 'yes',
  rejected: 'no',
  at: at(line),
  ...more,
});

/** Good rows, weighted rows, rows that name their sources, rows that the template rejects, rows too long for `keep_start`, and skipped rows. */
const items = fc
  .array(
    fc.record({
      kind: fc.constantFrom('good', 'good', 'weighted', 'sourced', 'rejected', 'long', 'bad'),
      text: fc.string({ unit: 'grapheme', maxLength: 30 }),
    }),
    { maxLength: 60 },
  )
  .map((rows) =>
    rows.map(({ kind, text }, line): Item => {
      if (kind === 'bad') return new RowError(at(line), { expected: 'a row', found: text, hint: 'Fix it.' });
      const role = kind === 'rejected' ? 'system' : 'user';
      const content = kind === 'long' ? 'word '.repeat(40) : text;
      const more = {
        ...(kind === 'weighted' && { weight: line / 4 }),
        ...(kind === 'sourced' && { sources: { chosen: 'gpt-4', rejected: `model ${line}` } }),
      };
      return row(line, { context: [{ role, content }], chosen: `a${text}`, rejected: `${text}b`, ...more });
    }),
  );

const batchesOf = (items: readonly Item[], size: number, failure?: RowBatch['failure']): RowBatch[] => {
  const batches: RowBatch[] = [];
  for (let i = 0; i < items.length; i += size) batches.push({ items: items.slice(i, i + size) });
  return [...batches, { items: [], ...(failure && { failure }) }];
};

/** The same in one thread: skipped rows are reported as they are read, one after another. */
async function* inOneThread(items: readonly Item[], options: Options, failure?: RowBatch['failure']) {
  const rows = function* () {
    for (const item of items) {
      if (item instanceof RowError) options.onSkip?.(item);
      else yield item;
    }
    if (failure) throw failure.error;
  };
  yield* encodeRows(rows(), options);
}

type Options = EncodeOptions & { onBadRow?: 'error' | 'skip'; onSkip?: (error: RowError) => void };

/** Everything that a caller sees: pairs and reports in order, and the error at the end with its cause. */
async function seen(run: (options: Options) => AsyncIterable<unknown>, options: Options): Promise<unknown[]> {
  const all: unknown[] = [];
  const report = (error: unknown) => {
    const { name, message, cause } = error as Error;
    all.push({ kind: (error as object).constructor, name, message, cause: (cause as Error | undefined)?.message });
  };
  try {
    for await (const pair of run({ ...options, onSkip: report })) all.push(pair);
  } catch (error) {
    report(error);
  }
  return all;
}

describe('encodeInThreads', () => {
  const settings = fc.record({
    onBadRow: fc.constantFrom('error' as const, 'skip' as const, 'skip' as const),
    completion: fc.constantFrom('paper' as const, 'trl' as const, 'turn' as const),
    truncation: fc.constantFrom('paper' as const, 'keep_start' as const),
    eosTokenId: fc.constantFrom(undefined, 107),
  });
  const failures = fc.constantFrom(undefined, { error: new Error('the file was cut off') });

  test.prop([items, fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 3 }), settings, failures], {
    numRuns: 25,
  })(
    'gives the pairs, reports and errors of a single thread, in the same order',
    async (items, size, count, more, failure) => {
      const options = { ...text, ...more, maxLength: 40, maxPromptLength: 20 };
      const threads = { count, worker, folder };
      const batches = () => batchesOf(items, size, failure);
      expect(await seen((all) => encodeInThreads(batches(), all, threads), options)).toEqual(
        await seen((all) => inOneThread(items, all, failure), options),
      );
    },
  );

  it('encodes in the threads', async () => {
    const encode = () => {
      throw new Error('encoded here');
    };
    const options = { ...text, tokenizer: { ...text.tokenizer, encode } };
    const pairs = await collect(encodeInThreads([{ items: [row(1), row(2)] }], options, { count: 1, worker, folder }));
    expect(pairs).toEqual(await collect(encodeRows([row(1), row(2)], text)));
  });

  it('gives the error of options with which no row can be encoded', async () => {
    const options = { ...text, chatTemplate: undefined, onBadRow: 'skip' as const };
    const pairs = encodeInThreads([{ items: [row(1)] }], options, { count: 2, worker, folder });
    await expect(pairs.next()).rejects.toThrow('expected a Jinja template, found none');
  });

  it('reads only a few batches per thread ahead, and stops reading when it is stopped', async () => {
    let [taken, isClosed] = [0, false];
    const endless = function* (): Generator<RowBatch> {
      try {
        for (;;) yield { items: [row(taken++)] };
      } finally {
        isClosed = true;
      }
    };
    const pairs = encodeInThreads(endless(), text, { count: 2, worker, folder });
    for (let i = 0; i < 10; i++) expect((await pairs.next()).value?.id).toBe(`r${i}`);
    expect(taken).toBeLessThanOrEqual(10 + 2 * 3);
    expect(isClosed).toBe(false);
    await pairs.return();
    expect(isClosed).toBe(true);
    expect((await pairs.next()).done).toBe(true);
  });

  const broken = (name: string, code: string) => {
    writeFileSync(join(dir, name), code);
    return pathToFileURL(join(dir, name));
  };

  it.each([
    ['exits', 'process.exit(3);', 'exit code 3'],
    ['throws', "throw new Error('out of luck');", 'out of luck'],
    [
      'dies at work',
      "import { parentPort } from 'node:worker_threads'; parentPort.on('message', () => process.exit(4));",
      'exit code 4',
    ],
  ])('reports a thread that %s', async (name, code, why) => {
    const threads = { count: 2, worker: broken(`${name}.mjs`, code), folder };
    const pairs = encodeInThreads([{ items: [row(1)] }, { items: [row(2)] }], text, threads);
    await expect(pairs.next()).rejects.toThrow(
      `an encoding thread ended before its work was done (${why}). Use fewer workers`,
    );
  });

  it('reports a tokenizer folder that is gone', async () => {
    const pairs = encodeInThreads([{ items: [row(1)] }], text, { count: 1, worker, folder: join(dir, 'none') });
    await expect(pairs.next()).rejects.toThrow('tokenizer.json: expected a tokenizer file, found no such file');
  });
});
