import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'tsup';
import { afterAll, expect, test } from 'vitest';

// An application may bundle the packages into one file, of either module format.

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = join(root, 'node_modules/.cache/wpo/bundles');
const rows = join(root, 'packages/data/test/fixtures/sources');
const entries = {
  'data-node': 'packages/data/src/node.ts',
  'data-hub': 'packages/data/src/hub/index.ts',
  'eval-node': 'packages/eval/src/node.ts',
  'gemma-node': 'packages/gemma/src/node.ts',
  'trainer-node': 'packages/trainer/src/node.ts',
};

afterAll(() => rmSync(folder, { recursive: true, force: true }));

const run = (script: string) =>
  execFileSync(process.execPath, ['--input-type=module', '-e', script], { cwd: folder, encoding: 'utf8' });

test.each([
  { format: 'cjs', splitting: false },
  { format: 'esm', splitting: false },
  { format: 'esm', splitting: true }, // imports in functions become files of their own
] as const)(
  'the Node entries, bundled with all their dependencies, work: $format, splitting $splitting',
  async ({ format, splitting }) => {
    await build({
      config: false,
      silent: true,
      entry: Object.fromEntries(Object.entries(entries).map(([name, path]) => [name, join(root, path)])),
      outDir: join(folder, format),
      outExtension: () => ({ js: format === 'cjs' ? '.cjs' : '.mjs' }),
      format,
      target: 'node20',
      platform: 'node',
      splitting,
      clean: true,
      noExternal: [/^(?!@tensorflow\/|koffi)/],
      external: [/^@tensorflow\//, 'koffi'],
      // what an application sets: bundled CommonJS packages call require
      ...(format === 'esm' && {
        banner: { js: "import { createRequire as r } from 'node:module'; const require = r(import.meta.url);" },
      }),
    });
    const extension = format === 'cjs' ? 'cjs' : 'mjs';
    for (const name of Object.keys(entries)) {
      const script = `console.log(Object.keys(await import('./${format}/${name}.${extension}')).length > 0)`;
      expect(run(script).trim(), name).toBe('true');
    }
    const count = `
      const { readRows } = await import('./${format}/data-node.${extension}');
      let count = 0;
      for (const file of ['rows.jsonl', 'zstd.parquet', '{lz4,snappy}.parquet', 'strong.zst'])
        for await (const row of readRows('${rows}/' + file)) count++;
      console.log(count);`;
    expect(run(count).trim()).toBe('200');
    const request = `
      const { createServer } = await import('node:http');
      const { createEndpoint } = await import('./${format}/eval-node.${extension}');
      const server = createServer((_, response) => response.end('{"data":[{"id":"gemma"}]}')).listen(0, '127.0.0.1');
      await new Promise((resolve) => server.once('listening', resolve));
      const endpoint = createEndpoint({ url: 'http://127.0.0.1:' + server.address().port });
      console.log(await endpoint.model());
      process.exit();`;
    expect(run(request).trim()).toBe('gemma');
  },
);
