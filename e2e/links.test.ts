import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { slug } from '../docs/.vitepress/pages';

// Documents link to files and headings that exist.

const root = fileURLToPath(new URL('..', import.meta.url));
const documents = execFileSync('git', ['ls-files', '*.md'], { cwd: root, encoding: 'utf8' })
  .split('\n')
  .filter((path) => path !== '' && !path.includes('/fixtures/') && !path.endsWith('CHANGELOG.md'));

const withoutCode = (text: string) => text.replaceAll(/^```.*?^```$/gms, '');
const read = (path: string) => withoutCode(readFileSync(join(root, path), 'utf8'));

/** Headings as GitHub makes anchors of them. */
function anchors(path: string): Set<string> {
  const headings = Array.from(read(path).matchAll(/^#+ (.*)$/gm), ([, heading]) => heading!);
  return new Set(headings.map(slug));
}

test.each(documents)('the links of %s lead somewhere', (path) => {
  const broken = Array.from(read(path).matchAll(/\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)/g)).flatMap(
    ([link, file, anchor]) => {
      const target = file === '' ? path : join(dirname(path), file!);
      if (!existsSync(join(root, target))) return [link];
      return anchor !== undefined && target.endsWith('.md') && !anchors(target).has(anchor) ? [link] : [];
    },
  );
  expect(broken).toEqual([]);
});

test.each(documents)('the files that %s names by their path in the repository exist', (path) => {
  const folders = 'bench|demo|docs|e2e|examples|internal|packages|recipes|scripts';
  const named = Array.from(
    read(path).matchAll(new RegExp(`\`((?:${folders})/[\\w./-]+\\.\\w+)\``, 'g')),
    ([, file]) => file!,
  );
  expect(
    named.filter((file) => ![root, dirname(join(root, path))].some((from) => existsSync(join(from, file)))),
  ).toEqual([]);
});

test('the files that docs/architecture.md names exist', () => {
  const text = readFileSync(join(root, 'docs/architecture.md'), 'utf8');
  const paths = Array.from(text.matchAll(/`((?:[\w-]+\/)+(?:src|native)\/[\w./-]+)`/g), ([, path]) => path!);
  expect(paths.length).toBeGreaterThan(10);
  expect(paths.filter((path) => !existsSync(join(root, path)) && !existsSync(join(root, 'packages', path)))).toEqual(
    [],
  );
});
