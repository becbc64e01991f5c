// Replies of judges: ratings and verdicts are read where they are stated, and never where they are not.
import { parseRating, parseVerdict, preferenceFromLogprobs, preferenceFromVerdict, withoutThinking } from '@wpo/eval';
import fc from 'fast-check';
import { type Family, mutatedText } from '../family';

interface Reply {
  readonly text: string;
  /** What the reply states, if it is known; null for nothing. */
  readonly rating?: number | null;
  readonly verdict?: number | null;
}

const seeds = [
  'The answer is clear.\nRating: 7',
  '**Rating (1-10):** 8.5/10',
  '<think>Rating: 3 would be harsh. Verdict: B?</think>\n\nRating: [[9]]',
  'Rating on a scale of 1 to 10: 10',
  '{"reasons": "short", "rating": 4, "verdict": "B"}',
  'Both are short.\n**Verdict: [[A]]**',
  'Verdict: a tie between A and B',
  'Verdict: equal.',
  'm',
  '<think>m or M?</think>M',
];

const whole = fc.integer({ min: 1, max: 10 });
const half = fc.integer({ min: 1, max: 9 }).map((n) => n + 0.5);
const stated = fc.oneof(whole, half);
const before = fc.constantFrom(
  '',
  'It is short, but right.\n\n',
  'I first thought Rating: 3. Verdict: A.\n',
  '<think>Rating: 2\nVerdict: B</think>\n',
  'Rating: 6 or perhaps</think>',
  '1. clear\n2. right\n',
  'It operates 5 systems. ',
);
const form = (...forms: ((value: string) => string)[]) => fc.constantFrom(...forms);

const ratings: fc.Arbitrary<Reply> = fc
  .tuple(
    before,
    stated,
    form(
      (n) => `Rating: ${n}`,
      (n) => `**Rating:** ${n}`,
      (n) => `**Rating: ${n}**`,
      (n) => `Rating (1-10): ${n}`,
      (n) => `Rating (from 1 to 10): ${n}/10`,
      (n) => `Final rating: ${n} out of 10.`,
      (n) => `Rating: [[${n}]]`,
      (n) => `[[${n}]]`,
      (n) => `{"rating": ${n}}`,
      (n) => `## Rating\n\n${n}/10`,
      (n) => `RATING = ${n}!`,
    ),
    fc.constantFrom('', '\n', '  ', '\n\nThank you.'),
  )
  .map(([start, n, write, end]) => ({ text: start + write(String(n)) + end, rating: n }));

/** Numbers that are no rating from 1 to 10. */
const wrong = fc.oneof(
  fc.integer({ min: 11, max: 10_000 }).map(String),
  fc.integer({ max: 0 }).map(String),
  fc
    .tuple(whole, fc.constantFrom('/5', '/100', '%', ' or 9', '-9', ' – 9', ',5', 'e3', 'th', '?', '+', '.5.5'))
    .map(([n, end]) => n + end),
  fc.constantFrom('0', '0.9', '-3', '−3', '~8', '.8', 'N', 'eight', '', '(1-10)', '1-10', 'Infinity', '10.1', '٨'),
);
const noRatings: fc.Arbitrary<Reply> = fc
  .tuple(
    wrong,
    form(
      (n) => `Rating: ${n}`,
      (n) => `**Rating:** ${n}`,
      (n) => `Rating (1-10): ${n}`,
      (n) => `<think>Rating: 8</think>Rating: ${n}`,
    ),
  )
  .map(([n, write]) => ({ text: write(n), rating: null }));

const VERDICTS = { A: 1, B: 0, equal: 0.5, 'a tie': 0.5, tie: 0.5, 'a draw': 0.5 } as const;
const verdicts: fc.Arbitrary<Reply> = fc
  .tuple(
    before,
    fc.constantFrom(...(Object.keys(VERDICTS) as (keyof typeof VERDICTS)[])),
    form(
      (word) => `Verdict: ${word}`,
      (word) => `**Verdict:** ${word}`,
      (word) => `Verdict: [[${word}]].`,
      (word) => `Verdict = "${word}"`,
      (word) => `My verdict is ${word}.`,
    ),
    fc.constantFrom('', '\n', '\nBoth are short.'),
  )
  .map(([start, word, write, end]) => ({
    text: start + write(word) + end,
    verdict: VERDICTS[word as keyof typeof VERDICTS],
  }));
// biome-ignore format: one table
const noVerdicts: fc.Arbitrary<Reply> = fc
  .constantFrom(
    'A or B', 'A and B', 'A/B', 'A, B', 'A?', 'not A', 'neither A nor B', 'a better answer is B', 'A is not better', 'both', 'C', 'a', 'unequal',
    'not equal', 'Answer', 'AB', 'A=B', 'equal, but A is clearer', 'tie-break: B', '<think>A', 'a good one', 'A could be',
  )
  .map((word) => ({ text: `Verdict: ${word === 'a' ? 'a or b' : word}`, verdict: null }));

const logprob = fc.oneof(
  fc.double(),
  fc.double({ min: -30, max: 0, noNaN: true }),
  fc.constant(-1e308),
  fc.constant(1e308),
);

export const family: Family<{ readonly reply: Reply; readonly logprobs: readonly [number, number] }> = {
  name: 'judge-replies',
  input: fc.record({
    reply: fc.oneof(
      mutatedText(seeds).map((text) => ({ text })),
      ratings,
      noRatings,
      verdicts,
      noVerdicts,
    ),
    logprobs: fc.tuple(logprob, logprob),
  }),
  check({ reply: { text, ...known }, logprobs }, { count }) {
    const fail = (what: string, value: unknown): never => {
      throw new Error(`the ${what} of ${JSON.stringify(text)} is ${value}`);
    };
    const answer = withoutThinking(text);
    const rating = parseRating(text);
    if (rating !== undefined && !(rating >= 1 && rating <= 10)) fail('rating', rating);
    if (rating !== undefined && !answer.includes(String(rating))) fail('rating', rating);
    if (known.rating !== undefined && rating !== (known.rating ?? undefined)) fail('rating', rating);
    const verdict = parseVerdict(text);
    if (verdict !== undefined && ![0, 0.5, 1].includes(verdict)) fail('verdict', verdict);
    const words = { 0: /(?<![a-z])b(?![a-z])/i, 0.5: /tie|draw|equal/i, 1: /(?<![a-z])a(?![a-z])/i }[
      String(verdict ?? 0.5)
    ];
    if (verdict !== undefined && !words!.test(answer)) fail('verdict', verdict);
    if (known.verdict !== undefined && verdict !== (known.verdict ?? undefined)) fail('verdict', verdict);
    const preference = preferenceFromVerdict(text);
    if (preference !== null && answer.replace(/[^\p{L}]/gu, '') !== { 1: 'm', 2: 'M' }[preference])
      fail('preference', preference);
    const [m, M] = logprobs;
    const tokens = [
      { token: 'm', logprob: m },
      { token: 'M', logprob: M },
    ].filter(({ logprob }) => Number.isFinite(logprob));
    const weighted = preferenceFromLogprobs(tokens);
    if (weighted !== null && !(weighted >= 1 && weighted <= 2)) fail('preference from log-probs', weighted);
    if (weighted === null && tokens.length > 0) fail('preference from log-probs', weighted);
    count(rating !== undefined ? 'rating read' : verdict !== undefined ? 'verdict read' : 'nothing read');
  },
};
