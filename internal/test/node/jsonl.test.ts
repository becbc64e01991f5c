import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { completeLines, openJsonl } from '../../src/node/jsonl';

const folder = mkdtempSync(join(tmpdir(), 'wpo-jsonl-'));
afterAll(() => rmSync(folder, { recursive: true }));

let count = 0;
function fileOf(text: string): string {
  const path = join(folder, `${count++}.jsonl`);
  writeFileSync(path, text);
  return path;
}

describe('reading', () => {
  test('completeLines drops an incomplete last line', () => {
    expect(completeLines('a\nb\nhal')).toEqual(['a', 'b']);
    expect(completeLines('a\n')).toEqual(['a']);
    expect(completeLines('')).toEqual([]);
  });
});

describe('appending', () => {
  test('writes one line per value, in order, also if calls overlap', async () => {
    const path = join(folder, 'new.jsonl');
    const file = await openJsonl(path);
    await file.append({ i: 0 });
    await Promise.all(Array.from({ length: 100 }, (_, i) => file.append({ i: i + 1 })));
    await file.close();
    const values = readFileSync(path, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as { i: number }).i);
    expect(values).toEqual(Array.from({ length: 101 }, (_, i) => i));
  });

  test.each([
    ['', '{"b":2}\n'],
    ['{"a":1}\n', '{"a":1}\n{"b":2}\n'],
    ['{"a":1}\n{"a":', '{"a":1}\n{"b":2}\n'],
    ['{"a":1}\n{"a":2}', '{"a":1}\n{"a":2}\n{"b":2}\n'],
    [`{"a":1}\n{"long":"${'x'.repeat(200_000)}`, '{"a":1}\n{"b":2}\n'],
  ])('a value is appended as a line of its own to %j', async (before, after) => {
    const path = fileOf(before);
    const file = await openJsonl(path);
    await file.append({ b: 2 });
    await file.close();
    expect(readFileSync(path, 'utf8')).toBe(after);
  });

  test('a value is on disk once its append resolves', async () => {
    const path = fileOf('');
    const file = await openJsonl(path);
    await file.append({ a: 1 });
    expect(readFileSync(path, 'utf8')).toBe('{"a":1}\n');
    await file.close();
    await expect(file.append({ a: 2 })).rejects.toThrow();
  });
});
