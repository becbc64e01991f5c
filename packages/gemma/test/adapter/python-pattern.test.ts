import { fc, test as property } from '@fast-check/vitest';
import { describe, expect, test } from 'vitest';
import { pythonPattern } from '../../src/adapter/python-pattern';

const name = 'model.layers.12.self_attn.q_proj';

test.each([
  [String.raw`.*\.(q|k|v)_proj`, true],
  [String.raw`model\.layers\.(1[0-5]|[0-3])\..*_proj`, true],
  [String.raw`model\.layers\.([0-9])\..*_proj`, false],
  ['.*q_proj$', true],
  ['^(?!.*mlp).*_proj', true],
  ['(?!.*self_attn).*_proj', false],
  [String.raw`(?=model)(?:.*?)\bq_proj`, true],
  [String.raw`(?P<prefix>.+)\.[a-z]_[^x]{4}`, true],
  [String.raw`model\.layers\.\d{1,3}\.\w+\.q_proj`, true],
  ['q_proj', false],
  [String.raw`[\w.]+|mlp`, true],
  [String.raw`.*[]q]_proj\Z`, true],
  ['', false],
])('matches module names as re.fullmatch does: %s', (source, expected) => {
  expect(pythonPattern(source).matchesAll(name)).toBe(expected);
});

test('re.match needs no match of the whole text', () => {
  const pattern = pythonPattern(String.raw`.*\.layers\.(\d+)\.`);
  expect(pattern.matchesStart(name)).toBe(true);
  expect(pattern.matchesAll(name)).toBe(false);
});

test.each([
  ['(a', 'a ( that is not closed'],
  ['a)', 'an unbalanced )'],
  ['[a', 'a [ that is not closed'],
  ['*a', 'a repetition of nothing'],
  ['a**', 'two repetitions'],
  ['a{3,1}', 'the repetition {3,1}'],
  ['a{1,9999}', 'more than 100'],
  ['(a)\\1', 'a backreference'],
  ['(?<=a)b', 'lookbehind'],
  ['(?i)a', 'an inline flag'],
  ['a++', 'a possessive repetition'],
  ['a\\', 'a \\ at the end'],
  ['\\q', 'the escape \\q'],
  ['[z-a]', 'an invalid range'],
  ['a'.repeat(3000), 'more than 2000'],
  ['((((a{100}){100}){100}){100})', 'too large'],
  ['('.repeat(60), 'more than 50 levels'],
])('refuses %s', (source, message) => {
  expect(() => pythonPattern(source)).toThrow(message);
});

test('takes little time where a backtracking matcher would take years', () => {
  const text = 'a'.repeat(60);
  for (const source of ['(a+)+b', '(a|a)*b', '(.*)*(.*)*(.*)*b', '(?:a?){60}a{60}b', '((?=(a+)+b).)+']) {
    expect(pythonPattern(source).matchesAll(text)).toBe(false);
  }
});

describe('agrees with JavaScript, on what both have', () => {
  // JavaScript cannot repeat an assertion or nothing without a group, so there is always one
  const leaf = fc.constantFrom('', 'a', 'b', '.', '[ab]', '[^a]', '\\w', '\\.', '\\b', '^', '$', '(?=a)', '(?!b)');
  const pattern = fc.letrec<{ node: string }>((tie) => ({
    node: fc.oneof(
      { maxDepth: 4 },
      leaf,
      fc.tuple(tie('node'), tie('node')).map(([a, b]) => a + b),
      fc.tuple(tie('node'), tie('node')).map(([a, b]) => `(?:${a}|${b})`),
      fc
        .tuple(tie('node'), fc.constantFrom('*', '+', '?', '{2}', '{1,3}', '{0,}', '*?'))
        .map(([a, mark]) => `(?:${a})${mark}`),
    ),
  })).node;
  property.prop([pattern, fc.array(fc.constantFrom('a', 'b', '.', '_'), { maxLength: 6 })])('', (source, letters) => {
    const text = letters.join('');
    expect(pythonPattern(source).matchesAll(text)).toBe(new RegExp(`^(?:${source})$`).test(text));
    expect(pythonPattern(source).matchesStart(text)).toBe(new RegExp(`^(?:${source})`).test(text));
  });
});
