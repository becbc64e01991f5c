import { fc, test } from '@fast-check/vitest';
import { expect, it } from 'vitest';
import { fingerprint } from '../src/fingerprint';

test.prop([fc.string({ unit: 'binary' })])('is an integer below 2^53 that depends on the text only', (text) => {
  const found = fingerprint(text);
  expect(Number.isSafeInteger(found) && found >= 0).toBe(true);
  expect(fingerprint([...text].join(''))).toBe(found);
});

it('differs between short texts and between orders of their letters', () => {
  const letters = [...'abcdefgh'];
  const texts = letters.flatMap((a) => letters.flatMap((b) => letters.flatMap((c) => ['', a, a + b, a + b + c])));
  const different = new Set(texts);
  expect(different.size).toBe(1 + 8 + 64 + 512);
  expect(new Set(texts.map(fingerprint)).size).toBe(different.size);
});

it('uses all of its 53 bits evenly', () => {
  const prints = Array.from({ length: 4000 }, (_, i) => BigInt(fingerprint(`prompt-${i}`)));
  for (let bit = 0n; bit < 53n; bit++) {
    const ones = prints.filter((print) => (print >> bit) & 1n).length;
    expect(Math.abs(ones - 2000), `bit ${bit}`).toBeLessThan(190); // six standard deviations
  }
});
