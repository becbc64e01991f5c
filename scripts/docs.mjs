// `npm run docs`: builds the documentation as a site into docs/.vitepress/dist. `npm run docs -- --dev` serves it, and follows changes.
import { build, createServer } from 'vitepress';
import { root } from './setup.mjs';

if (process.argv.includes('--dev')) {
  const server = await createServer(`${root}/docs`);
  await server.listen();
  server.printUrls();
} else {
  await build(`${root}/docs`);
}
