import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import ts from 'typescript';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { documents, root } from '../docs/.vitepress/pages';
import { built, type CodeBlock, LONG, programs, publishedPackages } from './support';

// The programs in the documentation run on the built packages, in a folder that holds the files they name, and pass the type check.

const fixtures = join(root, 'packages/gemma/test/fixtures/golden');
const packages = publishedPackages();

const shown = documents.flatMap((page) =>
  programs(join(root, page)).map((program, i): [string, CodeBlock] => [`${page}, program ${i + 1}`, program]),
);

/** Programs that only pass the type check, each with the reason. */
const NOT_RUN: Readonly<Record<string, string>> = {
  'packages/eval/README.md, program 3': 'it asks two servers',
};

const folder = mkdtempSync(join(tmpdir(), 'wpo-readme-'));
afterAll(() => rmSync(folder, { recursive: true }));

beforeAll(async () => {
  await built();
  const link = (target: string, path: string) => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    symlinkSync(target, join(folder, path));
  };
  for (const name of packages) link(join(root, 'packages', name), `node_modules/@wpo/${name}`);
  for (const name of ['tfjs', 'tfjs-core']) {
    link(join(root, 'node_modules/@tensorflow', name), `node_modules/@tensorflow/${name}`);
  }
  for (const model of ['gemma-2-2b-it', 'path/to/gemma-2-2b-it', 'models/gemma-2-2b-it']) {
    link(join(fixtures, 'tiny'), model);
  }
  cpSync(join(fixtures, 'pairs.jsonl'), join(folder, 'pairs.jsonl'));
  cpSync(join(fixtures, 'pairs.jsonl'), join(folder, 'train.jsonl'));
  const judged = { instruction: 'Name a river.', output_1: 'Danube.', output_2: 'The Danube.', preference: 2 };
  writeFileSync(join(folder, 'annotations.json'), JSON.stringify([judged]));
}, LONG);

test('every package has a README, and the root README has a program for each package', () => {
  for (const name of packages) expect(existsSync(join(root, 'packages', name, 'README.md')), name).toBe(true);
  const code = programs(join(root, 'README.md'))
    .map((program) => program.code)
    .join('\n');
  for (const name of packages) expect(code).toContain(`from '@wpo/${name}`);
});

const fileOf = (where: string) => join(folder, where.replaceAll(/\W+/g, '-'));

test.each(shown.filter(([where]) => !(where in NOT_RUN)))('%s runs', (where, { language, code }) => {
  const compilerOptions = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022, verbatimModuleSyntax: true };
  const script = language === 'ts' ? ts.transpileModule(code, { compilerOptions }).outputText : code;
  writeFileSync(`${fileOf(where)}.mjs`, script);
  const { status, stderr } = spawnSync(process.execPath, [`${fileOf(where)}.mjs`], { cwd: folder, encoding: 'utf8' });
  expect(status, stderr).toBe(0);
});

test('every program that is not run is one of a page', () => {
  expect(shown.map(([where]) => where)).toEqual(expect.arrayContaining(Object.keys(NOT_RUN)));
});

test('TypeScript programs pass the type check', () => {
  const files = shown.flatMap(([where, { language, code }]) => {
    if (language !== 'ts') return [];
    writeFileSync(`${fileOf(where)}.ts`, `export {};\n${code}`); // a module, imports or not
    return [`${fileOf(where)}.ts`];
  });
  expect(files.length).toBeGreaterThan(0);
  const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent({ ...config, include: [], files: [] }, ts.sys, root);
  const program = ts.createProgram(files, { ...options, typeRoots: [join(root, 'node_modules/@types')] });
  const problems = files.flatMap((file) => ts.getPreEmitDiagnostics(program, program.getSourceFile(file)));
  expect(ts.formatDiagnostics(problems, ts.createCompilerHost(options))).toBe('');
});
