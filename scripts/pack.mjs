// `npm run pack -- FOLDER`: builds the packages with their types, and packs each published one as a tarball in FOLDER.
// FOLDER/pnpm-workspace.yaml has what pnpm needs to install them.
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { root, setUpOrExit } from './setup.mjs';

const folder = resolve(process.env.INIT_CWD ?? '.', process.argv[2] ?? 'tarballs');
await setUpOrExit({ quiet: true, declarations: true });

const readManifest = (path) => JSON.parse(readFileSync(join(root, path, 'package.json'), 'utf8'));
const published = readdirSync(join(root, 'packages'))
  .map((name) => readManifest(`packages/${name}`))
  .filter((manifest) => !manifest.private);

// pnpm replaces `workspace:^` by a version; `npm pack` would leave it as it is
const filters = published.flatMap(({ name }) => ['--filter', name]);
const args = ['-y', readManifest('.').packageManager, '-r', ...filters, 'pack', '--pack-destination', folder];
const { status } = spawnSync('npx', args, { cwd: root, stdio: 'inherit' });
process.exitCode = status ?? 1;

// pnpm looks for the tarballs' dependencies on each other in the registry, unless a project's pnpm-workspace.yaml has overrides
const tarballs = readdirSync(folder).filter((name) => name.startsWith('wpo-') && name.endsWith('.tgz'));
const overrides = tarballs.map((name) => `  '@wpo/${name.split('-')[1]}': 'file:${join(folder, name)}'\n`);
writeFileSync(join(folder, 'pnpm-workspace.yaml'), `overrides:\n${overrides.join('')}`);
