import { fileURLToPath } from 'node:url';
import { library } from '../../tsup.shared';
import { pageForEsbuild } from './bundle.mjs';

export default library(['src/index.ts', 'src/figures.ts'], {
  esbuildPlugins: [pageForEsbuild(fileURLToPath(new URL('.', import.meta.url)))],
});
