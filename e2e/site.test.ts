import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { documents, root, sitePath } from '../docs/.vitepress/pages';

// `npm run docs` builds the documentation as a site.

const dist = join(root, 'docs/.vitepress/dist');
let files: Set<string>;
let pages: Map<string, string>;

beforeAll(() => {
  execFileSync(process.execPath, ['scripts/docs.mjs'], { cwd: root, stdio: ['ignore', 'ignore', 'inherit'] });
  files = new Set(readdirSync(dist, { recursive: true, encoding: 'utf8' }));
  const html = [...files].filter((path) => path.endsWith('.html'));
  pages = new Map(html.map((path) => [path, readFileSync(join(dist, path), 'utf8')]));
});

test('every document is a page', () => {
  const expected = documents.map((path) => sitePath(path).replace(/\.md$/, '.html'));
  expect(expected.length).toBeGreaterThan(50);
  expect(expected.filter((path) => !pages.has(path))).toEqual([]);
});

test('every link leads to a page, heading or file of the site', () => {
  const ids = new Map(
    Array.from(pages, ([path, html]) => [path, new Set(Array.from(html.matchAll(/ id="([^"]*)"/g), ([, id]) => id!))]),
  );
  const broken = Array.from(pages).flatMap(([path, html]) =>
    Array.from(html.matchAll(/<a [^>]*?href="(?!https?:|mailto:)([^"#]*)(?:#([^"]*))?"/g)).flatMap(
      ([, href, anchor]) => {
        const target =
          href === '' ? path : posix.join(href!.startsWith('/') ? '' : posix.dirname(path), decodeURI(href!));
        const file = target.replace(/^\//, '').replace(/(^|\/)$/, '$1index.html');
        const found = files.has(file) && (anchor === undefined || ids.get(file)?.has(decodeURI(anchor)));
        return found ? [] : [`${path}: ${href}${anchor === undefined ? '' : `#${anchor}`}`];
      },
    ),
  );
  expect(broken).toEqual([]);
});

test('a page loads nothing from elsewhere', () => {
  const loads = /<(?:script|img|iframe)[^>]* src="(?:https?:)?\/\/[^"]*"|<link [^>]*href="(?:https?:)?\/\/[^"]*"/g;
  for (const [path, html] of pages) expect(html.match(loads), path).toBeNull();
  const styles = [...files].filter((path) => path.endsWith('.css'));
  expect(styles.length).toBeGreaterThan(0);
  for (const path of styles) expect(readFileSync(join(dist, path), 'utf8')).not.toMatch(/url\(["']?(?:https?:)?\/\//);
});
