import { expect, test } from 'vitest';
import { answerKey, scoreAnswers } from '../src/index';

const answer = (prompt_id: string, seed: number, completion = prompt_id) => ({
  prompt_id,
  prompt: 'p',
  completion,
  source: 'gemma',
  seed,
});

async function* many(count: number, onRead = () => {}) {
  for (let i = 0; i < count; i++) {
    onRead();
    yield answer('a', i, 'x'.repeat(i));
  }
}

test('each answer keeps its fields and gets its score', async () => {
  const rows = [];
  const one = { ...answer('a', 1, 'long'), temperature: 0.8 };
  for await (const row of scoreAnswers({ answers: [one], score: ({ completion }) => completion.length }))
    rows.push(row);
  expect(rows).toEqual([{ ...one, score: 4 }]);
});

test('answers that have their score are not asked for again', async () => {
  const asked: number[] = [];
  const score = ({ seed }: { seed?: number }) => asked.push(seed!);
  for await (const _ of scoreAnswers({ answers: many(6), score, done: ({ seed }) => seed! % 2 === 0 }));
  expect(asked).toEqual([1, 3, 5]);
});

test('answers are read as they are needed, however slowly the scores are taken', async () => {
  let read = 0;
  let scored = 0;
  const answers = many(100, () => {
    read += 1;
  });
  for await (const _ of scoreAnswers({ answers, score: async () => 1, concurrency: 3 })) {
    scored += 1;
    for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate); // as a slow disk would
    expect(read - scored).toBeLessThanOrEqual(6); // those under way, and results that wait to be taken
  }
  expect(scored).toBe(100);
});

test('a score that is no number is a failure of that answer', async () => {
  const told: string[] = [];
  const rows: number[] = [];
  const options = {
    answers: many(3),
    score: ({ seed }: { seed?: number }) => (seed === 1 ? Number.NaN : seed!),
    onError: (error: unknown) => told.push((error as Error).message),
  };
  for await (const { score } of scoreAnswers(options)) rows.push(score);
  expect(rows).toEqual([0, 2]);
  expect(told).toEqual(['prompt "a": found the score NaN, wanted a finite number.']);
});

test('an answer’s key is its prompt, source and seed', () => {
  expect(answerKey(answer('a', 1))).toBe('["a","gemma",1]');
  expect(answerKey({ prompt_id: 'a', source: 'gpt' })).toBe('["a","gpt",null]');
});
