import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { completeLines, type JsonLine, JsonLineError, openJsonl, readJsonLines } from '../../src/node/jsonl';

const folder = mkdtempSync(join(tmpdir(), 'wpo-jsonl-'));
afterAll(() => rmSync(folder, { recursive: true }));

let count = 0;
function fileOf(text: string): string {
  const path = join(folder, `${count++}.jsonl`);
  writeFileSync(path, text);
  return path;
}

async function readAll(path: string): Promise<JsonLine[]> {
  const lines: JsonLine[] = [];
  for await (const line of readJsonLines(path)) lines.push(line);
  return lines;
}

describe('reading', () => {
  test('gives each value with its line number, and skips blank lines', async () => {
    expect(await readAll(fileOf('{"a":1}\r\n\n  \n[2]\n3'))).toEqual([
      { value: { a: 1 }, line: 1 },
      { value: [2], line: 4 },
      { value: 3, line: 5 },
    ]);
    expect(await readAll(fileOf(''))).toEqual([]);
  });

  test('names the line that is not JSON', async () => {
    const error = await readAll(fileOf('{}\n{"a":\n')).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(JsonLineError);
    expect(error).toMatchObject({ line: 2, message: expect.stringContaining('JSON') });
  });

  test('fails as node:fs does if there is no file', async () => {
    await expect(readAll(join(folder, 'none'))).rejects.toMatchObject({ code: 'ENOENT' });
  });

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
    const values = (await readAll(path)).map(({ value }) => (value as { i: number }).i);
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
