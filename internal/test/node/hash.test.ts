import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fc, test as property } from '@fast-check/vitest';
import { afterAll, expect, test } from 'vitest';
import { hashFile, hashFiles, hashJson, shortHash } from '../../src/node/hash';

const folder = mkdtempSync(join(tmpdir(), 'wpo-hash-'));
afterAll(() => rmSync(folder, { recursive: true }));

function fileOf(content: string): string {
  const path = join(folder, `${Math.random()}`);
  writeFileSync(path, content);
  return path;
}

test("a file's hash is the SHA-256 of its content", async () => {
  expect(await hashFile(fileOf('abc'))).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
});

test('the hash of several files depends on their contents and on where each ends', async () => {
  const hash = await hashFiles([fileOf('ab'), fileOf('c')]);
  expect(await hashFiles([fileOf('ab'), fileOf('c')])).toBe(hash);
  expect(await hashFiles([fileOf('a'), fileOf('bc')])).not.toBe(hash);
});

test('the hash of a JSON value does not depend on the order of keys', () => {
  expect(hashJson({ a: 1, b: { c: [1, 2], d: null } })).toBe(hashJson({ b: { d: null, c: [1, 2] }, a: 1 }));
  expect(hashJson({ a: [1, 2] })).not.toBe(hashJson({ a: [2, 1] }));
  // the SHA-256 of {"a":1}
  expect(hashJson({ a: 1 })).toBe('015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862');
});

property.prop([fc.jsonValue(), fc.jsonValue()])('equal JSON values have the same hash', (a, b) => {
  const text = (value: unknown) => JSON.stringify(value);
  if (text(a) === text(b)) expect(hashJson(a as null)).toBe(hashJson(b as null));
  expect(hashJson(JSON.parse(text(a)) as null)).toBe(hashJson(a as null));
});

test('a short hash is the first 16 hex digits of the SHA-256 of the JSON text', () => {
  expect(shortHash({ a: 1 })).toBe('015abd7f5cc57a2d');
});
