import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import { expect, test } from 'vitest';
import { openMemo } from '../src/evaluation/memo';
import { temporaryFolder } from './golden';

const newPath = () => join(temporaryFolder(), 'memo.jsonl');

test('a question is asked once: twice at the same time, later, and after opening again', async () => {
  const path = newPath();
  let asked = 0;
  const ask = async () => {
    asked += 1;
    await new Promise((resolve) => setTimeout(resolve, 5));
    return `answer ${asked}`;
  };
  const memo = await openMemo(path, v.string());
  expect(await Promise.all([memo.once('a', ask), memo.once('a', ask)])).toEqual(['answer 1', 'answer 1']);
  expect(await memo.once('a', ask)).toBe('answer 1');
  await memo.close();
  const again = await openMemo(path, v.string());
  expect([again.get('a'), again.get('b')]).toEqual(['answer 1', undefined]);
  expect(await again.once('b', ask)).toBe('answer 2');
  await again.close();
  expect(readFileSync(path, 'utf8').trim().split('\n')).toHaveLength(2);
});

test('a question that failed is asked again, and nothing is kept of it', async () => {
  const path = newPath();
  const memo = await openMemo(path, v.string());
  const failing = () => Promise.reject(new Error('no judge'));
  await expect(Promise.all([memo.once('a', failing), memo.once('a', failing)])).rejects.toThrow('no judge');
  expect(await memo.once('a', async () => 'now')).toBe('now');
  await memo.close();
  expect(readFileSync(path, 'utf8')).toBe('{"key":"a","value":"now"}\n');
});

test('a line that was cut off is dropped; another kind of line is told', async () => {
  const path = newPath();
  writeFileSync(path, '{"key":"a","value":"x"}\n{"key":"b","va');
  const memo = await openMemo(path, v.string());
  expect([memo.get('a'), memo.get('b')]).toEqual(['x', undefined]);
  await memo.close();
  appendFileSync(path, '{"other": 1}\n');
  await expect(openMemo(path, v.string())).rejects.toThrow(`${path}:2: found no answer that was kept here`);
  writeFileSync(path, '');
  await (await openMemo(path, v.string())).close(); // what could not be opened is not held
});
