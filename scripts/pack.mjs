// `npm run pack -- FOLDER`: builds the packages with their types, and packs each published one as a tarball in FOLDER.
// FOLDER/pnpm-workspace.yaml has what pnpm needs to install them.
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, posix, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { root, setUpOrExit } from './setup.mjs';

/** @param {string} path of a folder of this repository */
export const readManifest = (path) => JSON.parse(readFileSync(join(root, path, 'package.json'), 'utf8'));

/** Runs the pnpm of package.json, in the root. @param {string[]} args */
export const pnpm = (...args) =>
  spawnSync('npx', ['-y', readManifest('.').packageManager, ...args], { cwd: root, encoding: 'utf8' });

/**
 * Builds the packages and packs the published ones, in place of earlier tarballs in the folder. Exits if that fails.
 * @param {string} folder @returns {Promise<string[]>} the paths of the tarballs
 */
export async function pack(folder) {
  await setUpOrExit({ quiet: true, declarations: true });
  mkdirSync(folder, { recursive: true });
  const tarballs = () => readdirSync(folder).filter((name) => name.startsWith('wpo-') && name.endsWith('.tgz'));
  for (const name of tarballs()) rmSync(join(folder, name));

  const published = readdirSync(join(root, 'packages'))
    .map((name) => readManifest(`packages/${name}`))
    .filter((manifest) => !manifest.private);
  // pnpm replaces `workspace:^` by a version; `npm pack` would leave it as it is
  const filters = published.flatMap(({ name }) => ['--filter', name]);
  const { status, stdout, stderr } = pnpm('-r', ...filters, 'pack', '--pack-destination', folder);
  if (status !== 0) {
    console.error(`pnpm could not pack the packages:\n${stdout}${stderr}`);
    process.exit(1);
  }

  // pnpm looks for the tarballs' dependencies on each other in the registry, unless a project's pnpm-workspace.yaml has overrides
  const overrides = tarballs().map((name) => `  '@wpo/${name.split('-')[1]}': 'file:${join(folder, name)}'\n`);
  writeFileSync(join(folder, 'pnpm-workspace.yaml'), `overrides:\n${overrides.join('')}`);
  const paths = tarballs().map((name) => join(folder, name));
  for (const path of paths) makeLinksAbsolute(path);
  return paths;
}

/** Links of a README that leave its package lead nowhere on npm: in the tarball they lead to the repository. */
function makeLinksAbsolute(tarball) {
  const folder = mkdtempSync(join(tmpdir(), 'wpo-pack-'));
  try {
    run('tar', '-xzf', tarball, '-C', folder);
    const { repository } = JSON.parse(readFileSync(join(folder, 'package/package.json'), 'utf8'));
    const readme = join(folder, 'package/README.md');
    writeFileSync(readme, absoluteLinks(readFileSync(readme, 'utf8'), repository));
    run('tar', '-czf', tarball, '-C', folder, 'package');
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/**
 * @param {string} markdown of a README @param {{ url: string, directory: string }} repository of its package
 * @returns {string} the text, whose relative links have become links to files in the repository
 */
export function absoluteLinks(markdown, { url, directory }) {
  return markdown.replaceAll(/\]\((?!https?:|#)([^)#\s]+)/g, (whole, link) => {
    const path = posix.join(directory, link);
    if (!existsSync(join(root, path))) return whole; // brackets in code; release-checks.mjs finds a broken link
    const kind = statSync(join(root, path)).isDirectory() ? 'tree' : 'blob';
    return `](${webAddress(url)}/${kind}/main/${path}`;
  });
}

/** `https://…` of `git+https://….git`. */
export const webAddress = (url) => url.replace(/^git\+/, '').replace(/\.git$/, '');

function run(program, ...args) {
  // without the variable, macOS adds files of its own to a tarball
  const { status } = spawnSync(program, args, { stdio: 'inherit', env: { ...process.env, COPYFILE_DISABLE: '1' } });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: expected status 0, found ${status}.`);
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url))
  await pack(resolve(process.env.INIT_CWD ?? '.', process.argv[2] ?? 'tarballs'));
