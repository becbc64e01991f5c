import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { buildPublished, root } from './published';

interface Limit {
  readonly name: string;
  readonly path: string;
  readonly limit: string;
  readonly gzip: boolean;
}

const limits = JSON.parse(readFileSync(join(root, '.size-limit.json'), 'utf8')) as Limit[];
let published: ReturnType<typeof buildPublished>;
let sizes: { readonly name: string; readonly size: number; readonly sizeLimit: number; readonly passed: boolean }[];

beforeAll(async () => {
  published = buildPublished();
  const config = join(published.folder, 'limits.json');
  const moved = limits.map((limit) => ({ ...limit, path: join(published.folder, limit.path.replace('dist/', '')) }));
  writeFileSync(config, JSON.stringify(moved));
  const program = join(root, 'node_modules/size-limit/bin.js');
  sizes = JSON.parse(
    execFileSync(process.execPath, [program, '--json', '--config', config], { cwd: root, encoding: 'utf8' }),
  );
});
afterAll(() => published.remove());

it.each(limits.map(({ name, limit }) => [name, limit]))('%s is at most %s, minified and gzipped', (name) => {
  const found = sizes.find((size) => size.name === name)!;
  expect(found.size).toBeLessThanOrEqual(found.sizeLimit);
  // so that a limit that measures nothing does not pass
  expect(found.size).toBeGreaterThan(1000);
});

it('the limits are those promised', () => {
  const promised = Object.fromEntries(limits.map(({ name, limit, gzip }) => [name, [limit, gzip]]));
  expect(promised['@wpo/loss']).toEqual(['6 kB', true]);
  expect(promised['@wpo/loss/scalar']).toEqual(['4 kB', true]);
});
