import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { expect, test } from 'vitest';

// Every row of docs/comparison.md that says what this project has names tests, and these exist.

const root = fileURLToPath(new URL('..', import.meta.url));
const page = readFileSync(join(root, 'docs/comparison.md'), 'utf8');

/** The rows of the table below a heading, without its head, as cells. */
function table(heading: string): string[][] {
  const section = page.split(`\n## ${heading}\n`)[1]!.split('\n## ')[0]!;
  const rows = section.split('\n').filter((line) => line.startsWith('|'));
  return rows.slice(2).map((row) => Array.from(row.slice(1, -1).split('|'), (cell) => cell.trim()));
}

/** The titles of the tests in a file. */
function titlesOf(file: string): string[] {
  const titles: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isCallExpression(node) && /^(test|it)\b/.test(node.expression.getText())) {
      const [title] = node.arguments;
      if (title !== undefined && ts.isStringLiteralLike(title)) titles.push(title.text);
    }
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(file, readFileSync(join(root, file), 'utf8'), ts.ScriptTarget.Latest, true));
  return titles;
}

const tests = table('The tests of these rows').map(([row, cell]) => {
  const [, file, title] = /^`([^`]+)`: (.+)$/.exec(cell!)!;
  return { row: row!, file: file!, title: title! };
});

test('each row of what this has is tested, in the order of the rows', () => {
  const rows = table('What this has').map(([row]) => row);
  expect(rows.length).toBeGreaterThan(10);
  expect([...new Set(tests.map(({ row }) => row))]).toEqual(rows);
});

test.each(tests)('$file has the test "$title"', ({ file, title }) => {
  expect(titlesOf(file)).toContain(title);
});
