// `npm run release -- [--dry-run] [FOLDER]`: builds and packs the packages into FOLDER, checks them, and shows a table of them.
// Without --dry-run it then publishes them, from continuous integration only.
import { execFileSync, spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { apiProblems, packageFolders } from './api-report.mjs';
import { pack, pnpm, readManifest } from './pack.mjs';
import { checkTarball, licenceProblems, refusals, sizeProblems } from './release-checks.mjs';
import { root } from './setup.mjs';

const { values, positionals } = parseArgs({ options: { 'dry-run': { type: 'boolean' } }, allowPositionals: true });
const folder = resolve(process.env.INIT_CWD ?? '.', positionals[0] ?? 'tarballs');

if (!values['dry-run']) {
  const state = {
    env: process.env,
    changes: execFileSync('git', ['status', '--porcelain'], { cwd: root, encoding: 'utf8' }).trimEnd(),
    changesets: readdirSync(join(root, '.changeset')).filter((name) => name.endsWith('.md')),
    version: readManifest('packages/cli').version, // all packages have the same
    repository: readManifest('.').repository.url,
  };
  stopAt('Nothing is published', refusals(state));
}

const checked = (await pack(folder)).map((tarball) => ({ tarball, ...checkTarball(tarball) }));
const rows = checked.map(({ name, version, files, bytes }) => [
  name,
  version,
  files,
  `${(bytes / 1000).toFixed(0)} kB`,
]);
showTable([['package', 'version', 'files', 'packed'], ...rows]);
stopAt('The packages are not ready', [
  ...checked.flatMap(({ problems }) => problems),
  ...sizeProblems(),
  ...licenceProblems(),
  ...apiProblems(packageFolders()),
]);
console.log(
  `Types, exports, source maps, sizes, licences and API reports are as they must be. The tarballs are in ${folder}.`,
);

if (!values['dry-run']) {
  // the tarballs that were checked; a version that an interrupted release has published is left as it is
  const left = checked.filter((one) => !isPublished(one));
  // pnpm would ask for a branch that follows one of the remote; the tree has been checked above
  for (const { tarball } of left)
    run(pnpm('publish', tarball, '--provenance', '--access', 'public', '--no-git-checks'));
  run(spawnSync('npx', ['changeset', 'tag'], { cwd: root, encoding: 'utf8' })); // the workflow pushes the tags
}

function isPublished({ name, version }) {
  const { stdout } = spawnSync('npm', ['view', `${name}@${version}`, 'version'], { cwd: root, encoding: 'utf8' });
  return stdout.trim() === version;
}

/** Shows the output of a program that has run, and exits if it failed. */
function run({ status, stdout, stderr }) {
  process.stdout.write(`${stdout}${stderr}`);
  if (status !== 0) process.exit(status ?? 1);
}

/** Shows problems, if any, and exits. */
function stopAt(title, problems) {
  if (problems.length === 0) return;
  console.error(`${title}:\n${problems.map((problem) => `- ${problem}\n`).join('')}`);
  process.exit(1);
}

/** Rows of text and numbers; numbers are aligned at the right. */
function showTable(table) {
  const widths = table[0].map((_, column) => Math.max(...table.map((row) => String(row[column]).length)));
  for (const row of table)
    console.log(row.map((cell, i) => (i < 2 ? cell.padEnd(widths[i]) : String(cell).padStart(widths[i]))).join('  '));
}
