// `npm run api`: writes packages/*/etc/*.api.md, the public types of each entry, from the built declarations. A release compares them, so
// that a change of the types that users see is a change of a file that is reviewed.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CompilerState, Extractor, ExtractorConfig } from '@microsoft/api-extractor';
import { root, setUpOrExit } from './setup.mjs';

/** The folders of the packages. */
export const packageFolders = () =>
  readdirSync(join(root, 'packages'))
    .map((name) => join(root, 'packages', name))
    .filter((folder) => existsSync(join(folder, 'package.json')));

/**
 * Compares the reports of packages with their declarations, or writes them.
 * @param {string[]} folders of built packages @param {{ write?: boolean }} [options] @returns {string[]} what differs, or cannot be read
 */
export function apiProblems(folders, { write = false } = {}) {
  const made = mkdtempSync(join(tmpdir(), 'wpo-api-'));
  try {
    const entries = folders.flatMap((folder) => entriesOf(folder));
    const configs = entries.map((entry) => extractorConfig(entry, join(made, entry.name)));
    // one program for all: they share most of their types
    const additionalEntryPoints = configs.slice(1).map(({ mainEntryPointFilePath }) => mainEntryPointFilePath);
    const compilerState = CompilerState.create(configs[0], { additionalEntryPoints });
    const reports = new Set(entries.map(({ report }) => report));
    return [
      ...entries.flatMap((entry, i) => entryProblems(entry, configs[i], { compilerState, localBuild: write })),
      ...folders.flatMap((folder) => withoutEntry(folder, reports, write)),
    ];
  } finally {
    rmSync(made, { recursive: true });
  }
}

function entryProblems({ name, report }, config, options) {
  mkdirSync(dirname(report), { recursive: true });
  const errors = [];
  const messageCallback = (message) => {
    if (message.logLevel === 'error') errors.push(`${name}: ${message.formatMessageWithLocation()}`);
    message.handled = true;
  };
  try {
    const { apiReportChanged } = Extractor.invoke(config, { ...options, messageCallback });
    if (!apiReportChanged || options.localBuild) return errors;
    return [...errors, `${name}: ${difference(report, config.reportTempFilePath)}\n${HINT}`];
  } catch (error) {
    const [found] = error.message.split('\n'); // it gives up on a name that does not exist
    return errors.length > 0 ? errors : [`${name}: expected types that API Extractor can read, found: ${found}`];
  }
}

const HINT = 'If users are meant to see this, write the report with `npm run api`, and add a changeset.';

/** @param {string} report as it is @param {string} made as it should be */
function difference(report, made) {
  const path = relative(root, report);
  if (!existsSync(report)) return `expected its public types in ${path}, found no file.`;
  const { stdout } = spawnSync('git', ['diff', '--no-index', '--no-color', '-U1', report, made], { encoding: 'utf8' });
  const lines = stdout.split('\n').slice(4); // after the names of the files
  return `expected the public types in ${path}, found others:\n${lines.slice(0, MAX_LINES).join('\n').trimEnd()}`;
}

const MAX_LINES = 60;

/** Reports of entries that a package no longer has. */
function withoutEntry(folder, reports, write) {
  const etc = join(folder, 'etc');
  const left = existsSync(etc) ? readdirSync(etc).filter((name) => !reports.has(join(etc, name))) : [];
  if (write) for (const name of left) rmSync(join(etc, name));
  return write
    ? []
    : left.map(
        (name) => `${relative(root, join(etc, name))}: expected an entry of the package, found none. Delete it.`,
      );
}

/** The entries of a package that have types, each with its declarations and its report. */
function entriesOf(folder) {
  const { name, exports } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  return Object.entries(exports).flatMap(([path, { import: { types } = {} }]) => {
    if (types === undefined) return [];
    const file = path === '.' ? 'index' : path.slice(2);
    return [
      { name: `${name}${path.slice(1)}`, types: join(folder, types), report: join(folder, 'etc', `${file}.api.md`) },
    ];
  });
}

/** @param {string} made the folder for the report as it should be */
function extractorConfig({ types, report }, made) {
  const silent = { default: { logLevel: 'none' } };
  const folder = dirname(dirname(report));
  const compilerOptions = {
    ...{ target: 'es2022', lib: ['es2023', 'dom', 'dom.iterable'], strict: true },
    ...{ types: ['node'], typeRoots: [join(root, 'node_modules/@types')] },
    ...{ module: 'esnext', moduleResolution: 'bundler', skipLibCheck: true },
  };
  return ExtractorConfig.prepare({
    configObject: {
      ...{ projectFolder: folder, mainEntryPointFilePath: types, newlineKind: 'lf' },
      compiler: { overrideTsconfig: { compilerOptions } },
      apiReport: {
        ...{ enabled: true, reportFileName: basename(report), reportFolder: dirname(report), reportTempFolder: made },
        includeForgottenExports: true, // a type that no entry exports can be a part of one that is exported
      },
      ...{ docModel: { enabled: false }, dtsRollup: { enabled: false }, tsdocMetadata: { enabled: false } },
      messages: { extractorMessageReporting: silent, tsdocMessageReporting: silent },
    },
    configObjectFullPath: undefined,
    packageJsonFullPath: join(folder, 'package.json'),
  });
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  await setUpOrExit({ quiet: true, declarations: true });
  const problems = apiProblems(packageFolders(), { write: true });
  for (const problem of problems) console.error(problem);
  process.exitCode = problems.length > 0 ? 1 : 0;
}
