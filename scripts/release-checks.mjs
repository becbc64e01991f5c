// What is checked before a release. Each check returns the problems that it found, one line of text or more each.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { pnpm } from './pack.mjs';
import { root } from './setup.mjs';

/** Licences that ask for no more than a notice. */
const PERMISSIVE = ['0BSD', 'Apache-2.0', 'BlueOak-1.0.0', 'BSD-2-Clause', 'BSD-3-Clause', 'ISC', 'MIT'];

/** Packages in which a module may be in two files, with the reason. */
const COPIES = { '@wpo/loss': 'a chunk that both entries share would bring tensor code to `@wpo/loss/scalar`' };

/** Whether every licence in an SPDX expression is permissive, also where the expression offers a choice. */
export const isPermissive = (expression) =>
  expression.split(/ AND | OR |[()]/).every((id) => id === '' || PERMISSIVE.includes(id));

/** The licences of all packages that a user installs with ours, dependencies of dependencies among them. */
export function licenceProblems() {
  const args = ['licenses', 'list', '--prod', '--json', '--filter', './packages/*'];
  const { status, stdout, stderr } = pnpm(...args);
  if (status !== 0) return [`pnpm ${args.join(' ')}: expected the licences, found an error:\n${stdout}${stderr}`];
  return Object.entries(JSON.parse(stdout))
    .filter(([licence]) => !isPermissive(licence))
    .flatMap(([licence, packages]) =>
      packages.map(({ name, versions }) => {
        const expected = `expected a licence of ${PERMISSIVE.join(', ')}`;
        return `${name} ${versions.join(', ')}: ${expected}, found ${licence}. Replace the package.`;
      }),
    );
}

/** Entries that pages load, each with the limit of its size in .size-limit.json of its package. */
export const sizeProblems = () =>
  readdirSync(join(root, 'packages'))
    .filter((name) => existsSync(join(root, 'packages', name, '.size-limit.json')))
    .flatMap((name) => {
      const folder = join(root, 'packages', name);
      return outputOfFailed(process.execPath, [join(folder, 'node_modules/size-limit/bin.js')], folder);
    });

/**
 * publint, Are the types wrong?, and the files of one tarball.
 * @param {string} tarball @returns {{ name: string, version: string, files: number, bytes: number, problems: string[] }}
 */
export function checkTarball(tarball) {
  const folder = mkdtempSync(join(tmpdir(), 'wpo-tarball-'));
  try {
    const bin = (tool, ...args) => outputOfFailed(join(root, 'node_modules/.bin', tool), args, root);
    const unpacked = outputOfFailed('tar', ['-xzf', tarball, '-C', folder, '--strip-components=1'], root);
    if (unpacked.length > 0) return { name: basename(tarball), version: '', files: 0, bytes: 0, problems: unpacked };
    const { name, version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    const files = filesIn(folder);
    const problems = [
      ...bin('publint', '--strict', tarball),
      // node10 resolution, which TypeScript 6 deprecates, ignores `exports` and so finds only the first entry
      ...bin('attw', '--profile', 'node16', tarball),
      ...linkProblems(readFileSync(join(folder, 'README.md'), 'utf8')),
      ...mapProblems(folder, files, join(root, 'packages', name.replace('@wpo/', ''))),
      ...(name in COPIES ? [] : copyProblems(folder, files)),
    ].map((problem) => `${name}: ${problem}`);
    return { name, version, files: files.length, bytes: statSync(tarball).size, problems };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Links that lead nowhere on npm: those to other files. */
export const linkProblems = (markdown) =>
  Array.from(markdown.replaceAll(/^```.*?^```$/gms, '').matchAll(/\]\((?!https:|#)([^)\s]*)/g), ([, link]) => {
    return `README.md: expected links with https: or to a heading, found ${link}.`;
  });

/**
 * Source maps that do not have their sources, as they are in the repository, or that belong to no file.
 * @param {string} folder of an unpacked package @param {string[]} files in it @param {string} sources the package's folder here
 */
export function mapProblems(folder, files, sources) {
  const read = (file) => readFileSync(join(folder, file), 'utf8');
  const code = files.filter((file) => /\.c?js$/.test(file));
  const named = code.flatMap((file) => {
    const [, map] = read(file).match(/^\/\/# sourceMappingURL=(\S+)\s*$/m) ?? [];
    return map ? [join(file, '..', map)] : [];
  });
  const maps = files.filter((file) => file.endsWith('.map'));
  const isSource = (map, source, content) => {
    const path = join(sources, map, '..', source);
    return existsSync(path) && readFileSync(path, 'utf8') === content;
  };
  return [
    ...named.filter((map) => !maps.includes(map)).map((map) => `${map}: expected a source map, found no file.`),
    ...maps
      .filter((map) => !named.includes(map))
      .map((map) => `${map}: expected a file that names this map, found none.`),
    ...maps.flatMap((map) => {
      const { sources: paths, sourcesContent = [] } = JSON.parse(read(map));
      return paths
        .filter((source, i) => !isSource(map, source, sourcesContent[i]))
        .map((source) => `${map}: expected the text of ${source} as it is in the repository, found another or none.`);
    }),
  ];
}

/** Modules whose code is in more than one file of a module format. esbuild writes the path of each module above its code. */
export function copyProblems(folder, files) {
  return ['.js', '.cjs'].flatMap((extension) => {
    const places = new Map();
    for (const file of files.filter((file) => file.startsWith('dist/') && file.endsWith(extension))) {
      const text = readFileSync(join(folder, file), 'utf8');
      for (const module of new Set(text.match(/^\/\/ \S+\.ts$/gm)))
        places.set(module, [...(places.get(module) ?? []), file]);
    }
    if (places.size === 0 && files.some((file) => file.startsWith('dist/') && file.endsWith(extension)))
      return [`dist/*${extension}: expected esbuild's comments with the paths of modules, found none.`];
    return [...places]
      .filter(([, found]) => found.length > 1)
      .map(([module, found]) => `${module.slice(3)}: expected its code in one file, found it in ${found.join(', ')}.`);
  });
}

/** Files below a folder, as paths from it. */
function filesIn(folder) {
  const entries = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  return entries.filter((path) => statSync(join(folder, path)).isFile());
}

/** Runs a program. Returns its output if it fails, else nothing. */
function outputOfFailed(program, args, cwd) {
  const { status, error, stdout, stderr } = spawnSync(program, args, { cwd, encoding: 'utf8' });
  if (status === 0) return [];
  return [`${basename(program)} ${args.join(' ')}: ${error?.message ?? `exited with ${status}:\n${stdout}${stderr}`}`];
}

/**
 * Why the packages may not be published from here.
 * @param {{ env: NodeJS.ProcessEnv, changes: string, changesets: string[], version: string, repository: string }} state
 *   changes: the output of `git status --porcelain`; changesets: names of files; version: of a package; repository: its address
 */
export function refusals({ env, changes, changesets, version, repository }) {
  return [
    !env.ACTIONS_ID_TOKEN_REQUEST_URL &&
      'npm provenance names the build that made a package: expected a job of GitHub Actions with the permission `id-token: write`, found none. Release with .github/workflows/release.yml, or try `npm run release -- --dry-run` here.',
    changes !== '' && `expected a clean working tree, found changes. Commit them:\n${changes}`,
    changesets.length > 0 &&
      `expected no changesets, found ${changesets.join(', ')}. Run \`npx changeset version\` and commit what it writes.`,
    version === '0.0.0' && 'expected a version, found 0.0.0. Run `npx changeset version` and commit what it writes.',
    /\/OWNER\//.test(repository) &&
      `package.json: expected the address of the repository, found the placeholder ${repository}. CONTRIBUTING.md has the command that replaces it.`,
  ].filter(Boolean);
}
