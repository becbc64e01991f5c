import { expect, it } from 'vitest';
import { formatPair } from '../../src/encode/format-pair';
import { encodePair, measureTokens, RowError } from '../../src/index';
import { loadTokenizerFolder, readRows } from '../../src/node';
import { collect, fixture, thrown } from '../fixtures';

const text = await loadTokenizerFolder(fixture('tiny'));
const rows = await collect(readRows(fixture('tiny/pairs.jsonl')));

it.each(['paper', 'keep_start'] as const)('measures rows before and after truncation %s', (truncation) => {
  const options = { ...text, truncation, maxLength: 40, maxPromptLength: 20 };
  let cut = 0;
  for (const row of rows) {
    const whole = formatPair(row, options);
    if (truncation === 'keep_start' && whole.prompt.length >= 40) continue;
    const { kept, ...measured } = measureTokens(row, options);
    const encoded = encodePair(row, options);
    for (const part of ['prompt', 'chosen', 'rejected'] as const) {
      expect(measured[part]).toBe(whole[part].length);
      expect(kept![part]).toBe(encoded[part].length);
      cut += measured[part] - kept![part];
    }
  }
  expect(cut).toBeGreaterThan(0);
});

it('rejects rows that training would reject', () => {
  const options = { ...text, truncation: 'keep_start', maxLength: 2 } as const;
  expect(thrown(() => measureTokens(rows[0]!, options))).toBeInstanceOf(RowError);
});
