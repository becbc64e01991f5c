import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { openReplyCache } from '../../src/node';

const folder = mkdtempSync(join(tmpdir(), 'wpo-eval-'));
afterAll(() => rmSync(folder, { recursive: true }));

let files = 0;
const newPath = () => join(folder, `cache-${files++}.jsonl`);
const isText = (value: unknown) => typeof value === 'string';

test('asks once per key: concurrently, later, and after the file is opened again', async () => {
  const path = newPath();
  let asked = 0;
  const ask = async () => {
    asked += 1;
    await new Promise((resolve) => setTimeout(resolve, 5));
    return `answer ${asked}`;
  };
  const cache = await openReplyCache(path, isText);
  expect(await Promise.all([cache.getOrAsk('a', ask), cache.getOrAsk('a', ask)])).toEqual(['answer 1', 'answer 1']);
  expect(await cache.getOrAsk('a', ask)).toBe('answer 1');
  await cache.close();
  const again = await openReplyCache(path, isText);
  expect([again.get('a'), again.get('b')]).toEqual(['answer 1', undefined]);
  expect(await again.getOrAsk('b', ask)).toBe('answer 2');
  await again.close();
  expect(readFileSync(path, 'utf8').trim().split('\n')).toHaveLength(2);
});

test('asks again after a failure, and keeps nothing of the failure', async () => {
  const path = newPath();
  const cache = await openReplyCache(path, isText);
  const failing = () => Promise.reject(new Error('no judge'));
  await expect(Promise.all([cache.getOrAsk('a', failing), cache.getOrAsk('a', failing)])).rejects.toThrow('no judge');
  expect(await cache.getOrAsk('a', async () => 'now')).toBe('now');
  await cache.close();
  expect(readFileSync(path, 'utf8')).toMatch(/^\{"key":"a","value":"now","checksum":"\w{16}"\}\n$/);
});

test('drops an incomplete last line, and rejects rows of another kind', async () => {
  const path = newPath();
  const first = await openReplyCache(path, isText);
  await first.set('a', 'x');
  await first.close();
  appendFileSync(path, '{"key":"b","va');
  const cache = await openReplyCache(path, isText);
  expect([cache.get('a'), cache.get('b')]).toEqual(['x', undefined]);
  await cache.close();
  appendFileSync(path, '{"other": 1}\n');
  await expect(openReplyCache(path, isText)).rejects.toThrow(
    `${path}:2: expected a cached reply with its checksum, found another or a changed row.`,
  );
  writeFileSync(path, readFileSync(path, 'utf8').split('\n')[0]!.replace('"x"', '"y"'));
  await expect(openReplyCache(path, isText)).rejects.toThrow(`${path}:1: expected a cached reply with its checksum`);
  writeFileSync(path, '');
  await (await openReplyCache(path, isText)).close(); // the lock was released after the error
});
