import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { MarkdownRenderer } from 'vitepress';

// The pages of the site are the repository's Markdown files. Their links are written for GitHub, relative to the file; the site resolves
// them in the repository and points them to its own pages. Other files that a page links to are copied to the site as text.

export const root = fileURLToPath(new URL('../..', import.meta.url));

/** Files of the site that no page is made from: copies of linked files. */
export const publicFolder = join(root, 'docs/.vitepress/public');

const tracked = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.md'], {
  cwd: root,
  encoding: 'utf8',
});

/** Paths in the repository of the Markdown files that are pages. */
export const documents = tracked
  .split('\n')
  .filter(
    (path) =>
      path !== '' &&
      !/(^|\/)fixtures\/|^\.changeset\/|CHANGELOG\.md$|\.api\.md$/.test(path) &&
      existsSync(join(root, path)),
  );

/** Path in the site of a page, with `.md`. docs/ is the root of the site, and a README is the page of its folder. */
export function sitePath(document: string): string {
  if (document === 'README.md') return 'overview.md';
  return document.replace(/^docs\//, '').replace(/(^|\/)README\.md$/, '$1index.md');
}

/** First heading of a page. */
export function title(document: string): string {
  const [, heading] = /^# (.*)$/m.exec(readFileSync(join(root, document), 'utf8')) ?? [];
  if (heading === undefined) throw new Error(`${document} has no heading of the first level: start it with "# Title".`);
  return heading.replaceAll('`', '');
}

/** Anchor of a heading, as GitHub makes it. */
export const slug = (heading: string) =>
  heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\p{M}_ -]/gu, '')
    .replaceAll(' ', '-');

/**
 * Where a link leads on the site.
 * @param href relative to the document, with or without an anchor
 * @throws Error if the repository has no such file, or a folder without a README
 */
function siteLink(document: string, href: string): string {
  const [, path, anchor] = /^([^#]*)(#.*)?$/.exec(href)!;
  let target = relative(root, join(root, dirname(document), decodeURI(path!)));
  const problem = (text: string) => new Error(`${document} links to ${href}, ${text}`);
  if (!existsSync(join(root, target))) throw problem('which does not exist. Correct the path.');
  if (statSync(join(root, target)).isDirectory()) target = join(target, 'README.md');
  if (!existsSync(join(root, target))) throw problem('a folder without a README.md. Link to a file in it.');
  if (documents.includes(target)) return `/${sitePath(target)}${anchor ?? ''}`;
  const copy = join('files', target.replace(/(\.txt)?$/, '.txt')); // .txt, so that a browser shows it
  mkdirSync(dirname(join(publicFolder, copy)), { recursive: true });
  copyFileSync(join(root, target), join(publicFolder, copy));
  return `/${copy}`;
}

/** Makes the links of pages lead to pages of the site. */
export function repositoryLinks(markdown: MarkdownRenderer): void {
  rmSync(publicFolder, { recursive: true, force: true });
  markdown.core.ruler.push('repository_links', ({ tokens, env }) => {
    const document = relative(root, env.realPath ?? env.path);
    if (!documents.includes(document)) return;
    for (const token of tokens.flatMap(({ children }) => children ?? [])) {
      const href = token.type === 'link_open' ? token.attrGet('href') : null;
      if (href !== null && !/^([a-z]+:|#|\/)/.test(href)) token.attrSet('href', siteLink(document, href));
    }
  });
}
