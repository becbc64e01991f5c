// Damaged adapter_config.json of an adapter's folder, with regular expressions. An accepted adapter has the tensors of its file, and
// reading takes little time whatever the expressions are.
import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { adapterTensors, parseConfig } from '@wpo/gemma';
import { readAdapterFolder } from '@wpo/gemma/node';
import fc from 'fast-check';
import { expectPlainError, type Family, mutatedJson, mutatedText } from '../family';

const fixtures = 'packages/gemma/test/fixtures';
const model = parseConfig(JSON.parse(readFileSync(join(fixtures, 'golden/tiny/config.json'), 'utf8')), 'config.json');
const json = (name: string) =>
  JSON.parse(readFileSync(join(fixtures, 'peft', name, 'adapter_config.json'), 'utf8')) as object;
const seeds = ['query-value', 'patterns', 'layers', 'expression', 'excluded'].map(json);

/** Regular expressions: those that take a backtracking matcher exponential time, damaged ones, and pieces at random. */
const piece = fc.constantFrom(
  ...[
    '(a+)+',
    '(.*)*',
    '(\\w|\\d)*',
    '(?=.*x)',
    '(?!',
    '.*\\.',
    '[qv]_proj',
    '(?P<n>a)',
    '\\1',
    '{2,90}',
    '{',
    '|',
    '(',
    ')',
    '[',
  ],
  ...[
    '^',
    '$',
    '\\b',
    '\\Z',
    '+',
    '?',
    '*',
    'model',
    '\\.layers\\.',
    '(\\d+)',
    'q_proj',
    '\\',
    '\u001b[2J',
    '(?i)',
    '*+',
  ],
);
const expression = fc.oneof(
  fc.array(piece, { maxLength: 30 }).map((parts) => parts.join('')),
  fc.tuple(piece, fc.integer({ min: 1, max: 800 })).map(([part, times]) => part.repeat(times)),
);

const withExpressions = fc
  .record({
    base: fc.constantFrom(...seeds),
    target: fc.oneof(expression, fc.array(expression, { maxLength: 4 })),
    excluded: fc.oneof(fc.constant(null), expression),
    patterns: fc.dictionary(expression, fc.integer({ min: -1, max: 9 }), { maxKeys: 20 }),
    layers: fc.oneof(fc.constant(null), fc.array(fc.integer({ min: -1, max: 4 }), { maxLength: 3 })),
    layersPattern: fc.oneof(fc.constant(null), expression),
  })
  .map(({ base, target, excluded, patterns, layers, layersPattern }) => ({
    ...base,
    target_modules: target,
    exclude_modules: excluded,
    rank_pattern: patterns,
    alpha_pattern: patterns,
    layers_to_transform: layers,
    layers_pattern: layersPattern,
  }));

const input = fc.oneof(
  { weight: 2, arbitrary: mutatedJson(seeds).map((value) => JSON.stringify(value) ?? '') },
  { weight: 1, arbitrary: mutatedText(seeds.map((seed) => JSON.stringify(seed, null, 2))) },
  { weight: 3, arbitrary: withExpressions.map((value) => JSON.stringify(value)) },
);

export const family: Family<string> = {
  name: 'adapter',
  input,
  secondsPerCase: 20,
  async check(text, { folder, count }) {
    const dir = join(folder, 'adapter');
    if (!existsSync(dir)) cpSync(join(fixtures, 'peft/query-value'), dir, { recursive: true });
    writeFileSync(join(dir, 'adapter_config.json'), text);
    try {
      const { config, modules, checkpoint } = await readAdapterFolder(dir, model);
      await checkpoint.close();
      const expected = adapterTensors(modules, config).map(({ name }) => name);
      if (String(expected.sort()) !== String(checkpoint.names().sort()))
        throw new TypeError('other tensors than those of the file');
      if (modules.some(({ r, scaling }) => !(r >= 1) || !Number.isFinite(scaling)))
        throw new TypeError('a rank or factor out of range');
      count('read');
    } catch (error) {
      if (error instanceof TypeError) throw error;
      expectPlainError(error);
      count('refused');
    }
  },
};
