import { expect, test } from 'vitest';
import { parseRating, parseVerdict } from '../../src/node/judges';

test.each([
  ['Good.\nRating: 7', 7],
  ['Rating: 10/10', 10],
  ['**Rating:** [[8.5]]', 8.5],
  ['rating 3.', 3],
  ['I first thought Rating: 9. Rating: 2', 2],
  ['Rating: 0', undefined],
  ['Rating: 11', undefined],
  ['Seven of ten.', undefined],
  ['', undefined],
])('the rating of %j is %s', (reply, rating) => expect(parseRating(reply)).toBe(rating));

test.each([
  ['Verdict: A', 1],
  ['**Verdict: [[B]]**', 0],
  ['verdict: Equal.', 0.5],
  ['Verdict: A at first. Verdict: B', 0],
  ['Verdict: both are bad', undefined],
  ['Verdict: Answer', undefined],
  ['', undefined],
])('the verdict of %j is %s', (reply, verdict) => expect(parseVerdict(reply)).toBe(verdict));
