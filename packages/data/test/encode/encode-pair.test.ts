import { fc, test } from '@fast-check/vitest';
import { describe, expect, it } from 'vitest';
import { truncatePair } from '../../src/encode/encode-pair';
import { formatPair } from '../../src/encode/format-pair';
import { type EncodedPair, encodePair, encodeRows, RowError } from '../../src/index';
import { loadTokenizerFolder } from '../../src/node';
import { collect, fixture, reference, row, thrown } from '../fixtures';

const python = reference();
const text = await loadTokenizerFolder(fixture('tiny'));

test.each([
  [2048, 1800],
  [4096, 1800],
  [1024, 900],
  [100, 87],
  [2, 1],
])('with maxLength %i a cut prompt has by default %i tokens', (maxLength, maxPromptLength) => {
  const long = { prompt: Array.from({ length: 5000 }, (_, i) => i), chosen: [1], rejected: [2] };
  expect(truncatePair(long, { maxLength }).prompt).toHaveLength(maxPromptLength);
});

describe('truncatePair', () => {
  const pair = { prompt: [1, 2, 3, 4, 5], chosen: [11, 12, 13, 14], rejected: [21, 22] };

  it.each([
    // it fits: nothing is cut
    ['paper', 9, 2, { prompt: [1, 2, 3, 4, 5], chosen: [11, 12, 13, 14], rejected: [21, 22] }],
    // one token too many: the prompt loses its start, down to its limit; then the answers fit
    ['paper', 8, 4, { prompt: [2, 3, 4, 5], chosen: [11, 12, 13, 14], rejected: [21, 22] }],
    ['paper', 8, 2, { prompt: [4, 5], chosen: [11, 12, 13, 14], rejected: [21, 22] }],
    // still too many: both answers are cut to 6 - 3
    ['paper', 6, 3, { prompt: [3, 4, 5], chosen: [11, 12, 13], rejected: [21, 22] }],
    // a prompt under its limit stays whole
    ['paper', 8, 7, { prompt: [1, 2, 3, 4, 5], chosen: [11], rejected: [21] }],
    ['keep_start', 8, 1, { prompt: [1, 2, 3, 4, 5], chosen: [11, 12, 13], rejected: [21, 22] }],
    ['keep_start', 6, 1, { prompt: [1, 2, 3, 4, 5], chosen: [11], rejected: [21] }],
    ['keep_start', 5, 1, { prompt: [1, 2, 3, 4, 5], chosen: [], rejected: [] }],
    ['keep_start', 3, 1, { prompt: [1, 2, 3], chosen: [], rejected: [] }],
  ] as const)('%s at %i tokens, prompt at %i', (truncation, maxLength, maxPromptLength, cut) => {
    expect(truncatePair(pair, { truncation, maxLength, maxPromptLength })).toEqual(cut);
  });

  it('truncates as Python does at 300 random lengths and limits', () => {
    expect(python.cuts.length).toBe(300);
    for (const { pair, max_length: maxLength, max_prompt_length: maxPromptLength, ...cut } of python.cuts) {
      for (const truncation of ['paper', 'keep_start'] as const) {
        expect(truncatePair(pair, { truncation, maxLength, maxPromptLength })).toEqual(cut[truncation]);
      }
    }
  });

  const ids = fc.array(fc.nat(), { minLength: 1, maxLength: 40 });
  const limits = fc.integer({ min: 2, max: 60 }).chain((maxLength) =>
    fc.record({
      maxLength: fc.constant(maxLength),
      maxPromptLength: fc.integer({ min: 1, max: maxLength - 1 }),
      truncation: fc.constantFrom('paper' as const, 'keep_start' as const),
    }),
  );
  const slices = (whole: readonly number[], part: readonly number[]) =>
    part.every((id, i) => id === whole[i]) || part.every((id, i) => id === whole[whole.length - part.length + i]);

  test.prop([fc.record({ prompt: ids, chosen: ids, rejected: ids }), limits])(
    'respects the limits, cuts only at an end, leaves a pair that fits unchanged, and is idempotent',
    (pair, limits) => {
      const cut = truncatePair(pair, limits);
      const total = (p: typeof cut) => p.prompt.length + Math.max(p.chosen.length, p.rejected.length);
      expect(total(cut)).toBeLessThanOrEqual(limits.maxLength);
      for (const part of ['prompt', 'chosen', 'rejected'] as const) expect(slices(pair[part], cut[part])).toBe(true);
      if (total(pair) <= limits.maxLength) expect(cut).toEqual(pair);
      if (limits.truncation === 'paper') {
        expect(Math.min(cut.prompt.length, cut.chosen.length, cut.rejected.length)).toBeGreaterThan(0);
      }
      expect(truncatePair(cut, limits)).toEqual(cut);
    },
  );

  it.each([
    [
      { maxLength: 1, maxPromptLength: 1 },
      'max_length: expected an integer of at least 2 (a token of the prompt and one of the answer), found 1',
    ],
    [{ maxLength: 10.5 }, 'found 10.5'],
    [{ maxLength: Number.NaN }, 'found NaN'],
    [{ maxLength: 100, maxPromptLength: 100 }, 'from 1 to 99, found 100 with max_length 100'],
    [{ maxLength: 100, maxPromptLength: 0 }, 'from 1 to 99, found 0'],
    [{ maxLength: 100, maxPromptLength: 1800 }, 'found 1800 with max_length 100'],
    [{ truncation: 'keep_end' as 'paper' }, 'expected "paper" or "keep_start", found "keep_end"'],
  ])('rejects limits out of range: %o', (options, message) => {
    const run = () => truncatePair(pair, options);
    expect(run).toThrow(RangeError);
    expect(run).toThrow(message);
    expect(() => encodePair(row(), { ...text, ...options })).toThrow(RangeError);
  });
});

describe('encodePair', () => {
  it('returns the row’s id, its weight if it has one, and ids as 32-bit integers', () => {
    expect(encodePair(row(), text)).not.toHaveProperty('weight');
    const pair = encodePair(row({ weight: 0 }), text);
    expect(pair).toMatchObject({ id: 'r1', weight: 0 });
    const { prompt, chosen, rejected } = formatPair(row(), text);
    expect(pair.prompt).toEqual(Int32Array.from(prompt));
    expect(pair.chosen).toEqual(Int32Array.from(chosen));
    expect(pair.rejected).toEqual(Int32Array.from(rejected));
  });

  it('says how many tokens were cut from the prompt and from the answer that lost more', () => {
    expect(encodePair(row(), text)).not.toHaveProperty('truncated');
    const long = row({ chosen: 'yes '.repeat(30), rejected: 'no '.repeat(50) });
    const whole = formatPair(long, text);
    const pair = encodePair(long, { ...text, maxLength: 20, maxPromptLength: 2 });
    expect([pair.prompt.length, pair.chosen.length, pair.rejected.length]).toEqual([2, 18, 18]);
    expect(pair.truncated).toEqual({ prompt: whole.prompt.length - 2, answer: whole.rejected.length - 18 });
  });

  it('reports a row whose prompt leaves no room for an answer', () => {
    const long = row({ context: [{ role: 'user', content: 'word '.repeat(50) }] });
    const error = thrown(() => encodePair(long, { ...text, truncation: 'keep_start', maxLength: 20 }));
    expect(error).toBeInstanceOf(RowError);
    expect(error).toMatchObject({ field: 'chosen', found: 'no room after a prompt of 20 tokens or more', line: 3 });
  });

  it('reports a row whose prompt renders to empty text', () => {
    const error = thrown(() =>
      encodePair(row(), {
        ...text,
        chatTemplate: '{% for m in messages if m.role == "assistant" %}{{ m.content }}{% endfor %}',
      }),
    );
    expect(error).toMatchObject({ name: 'RowError', field: 'prompt', found: 'no tokens' });
  });
});

describe('encodeRows', () => {
  const rejected = row({ id: 'r2', context: [{ role: 'assistant', content: 'hi' }] });

  it('stops at a row that cannot be encoded', async () => {
    await expect(collect(encodeRows([row(), rejected], text))).rejects.toThrow(RowError);
  });

  it('skips and reports it with onBadRow skip', async () => {
    const skipped: RowError[] = [];
    const options = { ...text, onBadRow: 'skip' as const, onSkip: (error: RowError) => skipped.push(error) };
    const pairs: EncodedPair[] = await collect(encodeRows([row(), rejected, row({ id: 'r3' })], options));
    expect(pairs.map(({ id }) => id)).toEqual(['r1', 'r3']);
    expect(skipped.map(({ field }) => field)).toEqual(['prompt']);
  });

  it('throws for wrong options, with onBadRow skip too', async () => {
    const options = { ...text, chatTemplate: undefined, onBadRow: 'skip' as const };
    await expect(collect(encodeRows([row()], options))).rejects.toThrow('expected a Jinja template, found none');
  });
});
