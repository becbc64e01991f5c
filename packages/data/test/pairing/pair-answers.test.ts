import { fc, test } from '@fast-check/vitest';
import { describe, expect, it } from 'vitest';
import { parseRow } from '../../src/index';
import { OverlapIndex, type PairAnswersOptions, type PairSummary, pairAnswers } from '../../src/pairing/index';
import { collect } from '../fixtures';

const answer = (prompt: string, completion: string, score: number | null, source = 'own') => ({
  prompt_id: prompt,
  prompt: `What is ${prompt}?`,
  completion,
  source,
  score,
});

async function paired(answers: object[], options: PairAnswersOptions = {}) {
  const { rows, summary } = await pairAnswers(answers, options);
  return { rows: await collect(rows), summary: summary() };
}

describe('pairAnswers', () => {
  it('yields rows with sources and scores, which parseRow reads', async () => {
    const { rows } = await paired([answer('a', 'Good.', 9, 'gpt-4-turbo'), answer('a', 'Bad.', 2)]);
    expect(rows).toEqual([
      {
        prompt_id: 'a',
        prompt: 'What is a?',
        chosen: 'Good.',
        rejected: 'Bad.',
        score_chosen: 9,
        score_rejected: 2,
        source_chosen: 'gpt-4-turbo',
        source_rejected: 'own',
      },
    ]);
    expect(parseRow(rows[0], { file: 'f', line: 1 })).toMatchObject({
      id: 'a',
      scores: { chosen: 9, rejected: 2 },
      sources: { chosen: 'gpt-4-turbo', rejected: 'own' },
    });
  });

  it('copies other columns, separately if the answers differ', async () => {
    const more = { top_p: 0.95, id: 7 };
    const { rows } = await paired([
      { ...answer('a', 'Good.', 9), ...more, seed: 13, chosen: 'mine' },
      { ...answer('a', 'Bad.', 2), ...more, seed: 21, finish_reason: 'length' },
    ]);
    expect(rows[0]).toMatchObject({
      ...more,
      chosen: 'Good.',
      chosen_chosen: 'mine',
      seed_chosen: 13,
      seed_rejected: 21,
      finish_reason_rejected: 'length',
    });
    expect(rows[0]).not.toHaveProperty('seed');
    expect(rows[0]).not.toHaveProperty('finish_reason_chosen');
  });

  it('keeps the order in which the prompts first occur, whatever the order of the answers', async () => {
    const { rows } = await paired([
      answer('b', '1', 1),
      answer('a', '1', 1),
      answer('a', '2', 2),
      answer('c', '1', 1),
      answer('b', '2', 2),
      answer('c', '2', 2),
    ]);
    expect(rows.map(({ prompt_id }) => prompt_id)).toEqual(['b', 'a', 'c']);
  });

  it('groups by prompt_id, or by the prompt if there is no id', async () => {
    const turns = [{ role: 'user', content: 'Why?' }];
    const without = (prompt: unknown, completion: string, score: number) => ({
      prompt,
      completion,
      score,
      source: 's',
    });
    const { rows, summary } = await paired([
      without('Why?', 'x', 1),
      without('How?', 'x', 1),
      without(turns, 'y', 2),
      without('How?', 'y', 2),
    ]);
    expect(summary.prompts).toBe(2);
    expect(rows.map(({ prompt, chosen }) => [prompt, chosen])).toEqual([
      [turns, 'y'],
      ['How?', 'y'],
    ]);
    expect(rows[0]).not.toHaveProperty('prompt_id');
  });

  it('leaves out and counts answers that cannot make a pair', async () => {
    const { rows, summary } = await paired(
      [
        answer('kept', 'best', 9),
        answer('kept', ' best\n', 3, 'other'), // the same text: the better score is kept
        answer('kept', 'worst', 1),
        answer('kept', ' \n', 0),
        answer('kept', 'unknown', null),
        answer('alone', 'only', 5),
        answer('even', 'one', 4),
        answer('even', 'two', 4),
        answer('near', 'one', 4),
        answer('near', 'two', 4.5),
      ],
      { minMargin: 1 },
    );
    expect(rows.map(({ chosen, rejected }) => [chosen, rejected])).toEqual([['best', 'worst']]);
    expect(summary).toMatchObject({
      answers: 10,
      answersLeftOut: { empty: 1, unscored: 1, duplicate: 1, offPolicy: 0 },
      prompts: 4,
      promptsLeftOut: { tooFewAnswers: 1, equalScores: 1, smallMargin: 1, overlaps: 0 },
      pairs: 1,
      margin: { mean: 8 },
      sources: { own: { answers: 9, chosen: 1, rejected: 1 }, other: { answers: 1, chosen: 0, rejected: 0 } },
    });
  });

  it('names a row that is not a scored answer, or skips it with onBadRow skip', async () => {
    const bad = { ...answer('a', 'x', 1), score: '7' };
    await expect(pairAnswers([answer('a', 'y', 2), bad])).rejects.toThrow(
      'answers:2: score: expected a finite number, found the text "7"',
    );
    const skipped: string[] = [];
    const rows = [bad, answer('a', 'y', 2), { ...answer('a', 'z', 1), source: undefined }, answer('a', 'w', 1)];
    const pairing = await pairAnswers(rows, { onBadRow: 'skip', onSkip: ({ field }) => skipped.push(field!) });
    expect((await collect(pairing.rows)).map(({ chosen, rejected }) => [chosen, rejected])).toEqual([['y', 'w']]);
    expect(skipped).toEqual(['score', 'source']);
  });

  it('rejects one id for two prompts', async () => {
    const other = { ...answer('a', 'x', 1), prompt: 'Else?' };
    await expect(pairAnswers([answer('a', 'y', 2), other])).rejects.toThrow(
      'answers:2: prompt: expected the prompt that an earlier row has under prompt_id "a", found another prompt',
    );
  });

  it.each([
    [{ hybrid: 1.5 }, 'hybrid: expected a number from 0 to 1, found 1.5'],
    [{ minMargin: -1 }, 'minMargin: expected a number of at least 0, found -1'],
    [{ seed: 0.5 }, 'seed: expected an integer of at least 0, found 0.5'],
  ])('rejects %j', async (options, message) => {
    await expect(pairAnswers([], options)).rejects.toThrow(message);
  });
});

describe('hybrid', () => {
  const prompts = Array.from({ length: 400 }, (_, i) => `p${i}`);
  const answers = prompts.flatMap((prompt) => [
    answer(prompt, 'own best', 5),
    answer(prompt, 'own worst', 3),
    answer(prompt, 'far better', 9, 'gpt-4-turbo'),
  ]);
  const offPolicy = ['gpt-4-turbo'];

  it('uses off-policy answers for a fraction of the prompts, and the model’s own answers for the rest', async () => {
    const { rows, summary } = await paired(answers, { offPolicy, hybrid: 0.3 });
    const offPolicyRows = rows.filter(({ source_chosen }) => source_chosen === 'gpt-4-turbo').length;
    // 120 expected, standard deviation 9
    expect(Math.abs(offPolicyRows - 120)).toBeLessThan(45);
    expect(rows).toHaveLength(400);
    expect(summary.offPolicy).toEqual({ prompts: offPolicyRows, pairs: offPolicyRows });
    expect(summary.answersLeftOut.offPolicy).toBe(400 - offPolicyRows);
    expect(rows.every(({ source_rejected }) => source_rejected === 'own')).toBe(true);
  });

  it('uses them for all prompts at 1, the default, and for none at 0', async () => {
    for (const [options, expected] of [
      [{ offPolicy }, 400],
      [{ offPolicy, hybrid: 1 }, 400],
      [{ offPolicy, hybrid: 0 }, 0],
    ] as const) {
      expect((await paired(answers, options)).summary.offPolicy).toEqual({ prompts: expected, pairs: expected });
    }
  });

  it('draws each prompt independently of the others, depending on the seed', async () => {
    const hybridIds = async (list: object[], seed: number) =>
      (await paired(list, { offPolicy, hybrid: 0.5, seed })).rows
        .filter(({ source_chosen }) => source_chosen === 'gpt-4-turbo')
        .map(({ prompt_id }) => prompt_id);
    const all = await hybridIds(answers, 1);
    const half = await hybridIds(answers.slice(600), 1);
    expect(half).toEqual(all.filter((id) => Number((id as string).slice(1)) >= 200));
    expect(await hybridIds(answers, 2)).not.toEqual(all);
  });
});

describe('overlaps with an evaluation', () => {
  const shared = 'one two three four five six seven eight nine ten eleven twelve thirteen';
  const answers = [
    answer('a', `so ${shared}`, 2),
    answer('a', 'no', 1),
    answer('b', 'yes', 2),
    answer('b', 'no', 1),
    { ...answer('c', `again ${shared}`, 1), prompt: `Say ${shared}!` },
    { ...answer('c', 'yes', 2), prompt: `Say ${shared}!` },
  ];
  const against = new OverlapIndex(['nothing of the kind is to be found here at all', shared]);

  it('are reported by part, and the pairs kept', async () => {
    const { rows, summary } = await paired(answers, { against });
    expect(rows).toHaveLength(3);
    expect(summary.overlaps).toEqual({ n: 13, pairs: 2, parts: { prompt: 1, chosen: 1, rejected: 1 }, texts: [1] });
    expect(summary.promptsLeftOut.overlaps).toBe(0);
  });

  it('are left out with dropOverlaps, also of all other counts', async () => {
    const { rows, summary } = await paired(answers, { against, dropOverlaps: true });
    expect(rows.map(({ prompt_id }) => prompt_id)).toEqual(['b']);
    expect(summary).toMatchObject({ pairs: 1, promptsLeftOut: { overlaps: 2 }, sources: { own: { chosen: 1 } } });
  });
});

const sum = (counts: object) => Object.values(counts as Record<string, number>).reduce((all, n) => all + n, 0);
const scored = fc.record({
  prompt_id: fc.constantFrom('p', 'q', 'r', 's'),
  prompt: fc.constant('?'),
  completion: fc.constantFrom('', ' ', 'a', 'a ', 'bb', 'ccc', 'dddd', 'eeeee'),
  source: fc.constantFrom('own', 'other', 'gpt-4-turbo'),
  seed: fc.nat(3),
  score: fc.option(fc.integer({ min: 0, max: 4 })),
});
const options = fc.record({
  strategy: fc.constantFrom('max-min', 'max-random', 'margin'),
  minMargin: fc.integer({ min: 0, max: 2 }),
  hybrid: fc.constantFrom(0, 0.5, 1),
  seed: fc.nat(),
});

test.prop([
  fc
    .uniqueArray(scored, { maxLength: 40, selector: ({ prompt_id, source, seed }) => `${prompt_id} ${source} ${seed}` })
    .chain((list) => fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length }))),
  options,
])(
  'the order of answers changes no pair, each prompt has a pair or is counted, and the chosen answer scores higher',
  async ([list, shuffled], given) => {
    const options = { ...given, offPolicy: ['gpt-4-turbo'] } as PairAnswersOptions;
    const [first, second] = [await paired(list, options), await paired(shuffled, options)];
    const byId = (rows: Record<string, unknown>[]) =>
      Object.fromEntries(rows.map(({ prompt_id, ...row }) => [prompt_id, row]));
    expect(byId(second.rows)).toEqual(byId(first.rows));
    expect({ ...second.summary, sources: null }).toEqual({ ...first.summary, sources: null });
    checkCounts(first.summary, list.length);
    for (const row of first.rows) {
      expect(row.score_chosen as number).toBeGreaterThanOrEqual(
        (row.score_rejected as number) + Math.max(1, given.minMargin),
      );
      expect((row.chosen as string).trim()).not.toBe((row.rejected as string).trim());
    }
  },
);

function checkCounts(summary: PairSummary, answers: number): void {
  expect(summary.answers).toBe(answers);
  expect(summary.pairs + sum(summary.promptsLeftOut)).toBe(summary.prompts);
  expect(2 * summary.pairs + sum(summary.answersLeftOut)).toBeLessThanOrEqual(answers);
  const sources = Object.values(summary.sources);
  expect(sources.reduce((all, { answers }) => all + answers, 0)).toBe(answers);
  for (const side of ['chosen', 'rejected'] as const) {
    expect(sources.reduce((all, source) => all + source[side], 0)).toBe(summary.pairs);
  }
}
