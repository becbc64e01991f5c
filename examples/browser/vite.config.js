// The page fetches the model from its own server: MODEL is the folder of a small Gemma-2, by default the demo's.
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

export default {
  root: here('.'),
  base: './', // the built page works under any path
  publicDir: process.env.MODEL ? resolve(process.env.MODEL) : here('../../demo/model'),
  build: { target: 'es2022', chunkSizeWarningLimit: 4000 },
};
