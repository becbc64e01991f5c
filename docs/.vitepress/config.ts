import { type DefaultTheme, defineConfig } from 'vitepress';
import { documents, publicFolder, repositoryLinks, root, sitePath, slug, title } from './pages';

// The documentation as a site: `npm run docs` builds it into docs/.vitepress/dist, `npm run docs -- --dev` serves it.

const packages = ['loss', 'data', 'eval', 'gemma', 'trainer', 'tensorflow', 'report', 'cli'];

/** Pages in the order in which a reader needs them, by their path in the repository. */
const sections: Record<string, readonly string[]> = {
  Start: ['README.md', 'docs/README.md', 'docs/start.md', 'demo/README.md'],
  Understand: ['docs/wpo.md', 'docs/math.md', 'docs/losses.md', 'docs/report.md'],
  Guides: [
    'data',
    'lora',
    'memory',
    'optimizers',
    'one-gpu',
    'hybrid',
    'evaluation',
    'serve',
    'from-trl',
    'events',
    'scale',
  ].map((name) => `docs/${name}.md`),
  Reference: [
    'docs/cli.md',
    'docs/api/index.md',
    'recipes/README.md',
    ...packages.map((name) => `packages/${name}/README.md`),
  ],
  Evidence: ['comparison', 'parity', 'performance', 'reliability', 'dependencies'].map((name) => `docs/${name}.md`),
  Code: [
    ...[
      'docs/architecture.md',
      'docs/decisions/README.md',
      'examples/README.md',
      'packages/tensorflow/native/README.md',
    ],
    ...['CONTRIBUTING.md', 'bench/README.md', 'bench/LOG.md'],
  ],
};

const listed = new Set(Object.values(sections).flat());
const missing = documents.filter((path) => /^docs\/[^/]+\.md$/.test(path) && !listed.has(path));
if (missing.length > 0) {
  throw new Error(
    `Pages without a place in the navigation: ${missing.join(', ')}. Add them to docs/.vitepress/config.ts.`,
  );
}

const sidebar = Object.entries(sections).map(
  ([text, pages]): DefaultTheme.SidebarItem => ({
    text,
    collapsed: text === 'Code',
    items: pages.map((path) => ({ text: title(path), link: `/${sitePath(path)}` })),
  }),
);

export default defineConfig({
  title: 'WPO for TypeScript',
  description: 'Train Gemma-2 on preference pairs in Node.js, with Weighted Preference Optimization',
  lang: 'en',
  head: [['link', { rel: 'icon', href: 'data:,' }]], // no icon, and no request for one
  srcDir: root,
  srcExclude: ['**/fixtures/**', '**/CHANGELOG.md', '**/*.api.md', 'runs/**'],
  rewrites: sitePath,
  vite: { publicDir: publicFolder, build: { chunkSizeWarningLimit: 4096 } }, // in KB: the index of the search is one chunk
  markdown: { attrs: { disable: true }, anchor: { slugify: slug }, config: repositoryLinks },
  ignoreDeadLinks: 'localhostLinks', // addresses of servers in examples
  themeConfig: {
    search: { provider: 'local' },
    outline: [2, 3],
    nav: [
      { text: 'CLI', link: '/cli' },
      { text: 'API', link: '/api/' },
      { text: 'Performance', link: '/performance' },
    ],
    sidebar,
  },
});
