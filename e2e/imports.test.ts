import { readdirSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';

/** The siblings that each package may import. The command line composes all of them. */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  loss: [],
  data: [],
  eval: ['data'],
  gemma: [],
  trainer: ['loss'],
  tensorflow: ['gemma', 'trainer'],
  report: [],
  cli: ['loss', 'data', 'eval', 'gemma', 'trainer', 'tensorflow', 'report'],
};
/** Code that the packages share. */
const INTERNAL = '@wpo/internal';
/** What the builds bundle, so that it is a development dependency. */
const BUNDLED = [INTERNAL, '@observablehq/plot', '@xmldom/xmldom'];
/** Packages that also run in browsers, except for their `/node` entries. */
const ANYWHERE = ['loss', 'data', 'eval', 'gemma', 'trainer', 'report'];

const root = fileURLToPath(new URL('..', import.meta.url));

interface Import {
  /** The importing file, from the repository's root, e.g. `packages/gemma/src/policy.ts`. */
  readonly file: string;
  /** The imported module as written, e.g. `./model` or `@wpo/loss`. */
  readonly module: string;
}

/** All TypeScript files below a folder, as paths from the root. */
const filesIn = (folder: string): string[] =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .map((path) => join(folder, path));

/** Every import, re-export, dynamic import and require in a folder, type imports included. */
const importsIn = (folder: string): Import[] =>
  filesIn(folder).flatMap((file) => {
    const { importedFiles } = ts.preProcessFile(readFileSync(join(root, file), 'utf8'), true, true);
    return importedFiles.map(({ fileName }) => ({ file, module: fileName }));
  });

const isRelative = ({ module }: Import) => module.startsWith('.');
const isNode = ({ module }: Import) => module.startsWith('node:') || builtinModules.includes(module);
/** Whether a file belongs to an entry that runs in Node only: `/node`, or `@wpo/data/hub`. */
const isNodeFile = (file: string) => /\/src\/node(\.ts$|\/)|data\/src\/hub\//.test(file);
/** `@wpo/gemma` of `@wpo/gemma/node`. */
const packageOf = ({ module }: Import) => module.split('/', module.startsWith('@') ? 2 : 1).join('/');
/** The path that a relative import leads to, from the root, without its extension. */
const targetOf = ({ file, module }: Import) => join(dirname(file), module);
const shown = ({ file, module }: Import) => `${file} imports ${module}`;

/** Circles among a folder's relative imports, e.g. `src/a.ts -> src/b.ts -> src/a.ts`. */
function importCircles(folder: string): string[] {
  const files = new Set(filesIn(folder));
  const targets = new Map<string, string[]>([...files].map((file) => [file, []]));
  for (const one of importsIn(folder).filter(isRelative)) {
    const target = [`${targetOf(one)}.ts`, join(targetOf(one), 'index.ts')].find((path) => files.has(path));
    if (target) targets.get(one.file)!.push(target);
  }
  const circles: string[] = [];
  const visited = new Set<string>();
  const visit = (file: string, path: readonly string[]) => {
    if (path.includes(file)) circles.push([...path.slice(path.indexOf(file)), file].join(' -> '));
    if (visited.has(file)) return;
    visited.add(file);
    for (const target of targets.get(file)!) visit(target, [...path, file]);
  };
  for (const file of files) visit(file, []);
  return circles;
}

test('every package is listed here', () => {
  expect(readdirSync(join(root, 'packages')).sort()).toEqual(Object.keys(ALLOWED).sort());
});

describe.each(Object.keys(ALLOWED))('packages/%s', (name) => {
  const src = `packages/${name}/src`;
  const imports = importsIn(src);

  test('imports only the siblings that it may, and by their names', () => {
    const allowed = [INTERNAL, ...ALLOWED[name]!.map((sibling) => `@wpo/${sibling}`)];
    const siblings = imports.filter(({ module }) => module.startsWith('@wpo/'));
    expect(siblings.filter((one) => !allowed.includes(packageOf(one))).map(shown)).toEqual([]);
    const outside = imports.filter(isRelative).filter((one) => !targetOf(one).startsWith(`packages/${name}/`));
    expect(outside.map(shown)).toEqual([]);
  });

  test('declares every module that it imports', () => {
    const { dependencies, devDependencies, optionalDependencies, peerDependencies } = JSON.parse(
      readFileSync(join(root, 'packages', name, 'package.json'), 'utf8'),
    );
    const declared = Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies });
    expect(declared.filter((module) => BUNDLED.includes(module))).toEqual([]);
    declared.push(...BUNDLED.filter((module) => devDependencies?.[module]));
    const modules = imports.filter((one) => !isRelative(one) && !isNode(one));
    expect(modules.length).toBeGreaterThan(0);
    expect(modules.filter((one) => !declared.includes(packageOf(one))).map(shown)).toEqual([]);
  });

  test('has no import circle', () => {
    expect(importCircles(src)).toEqual([]);
  });
});

describe.each(ANYWHERE)('packages/%s, which runs anywhere,', (name) => {
  const imports = importsIn(`packages/${name}/src`).filter(({ file }) => !isNodeFile(file));

  test('imports nothing of Node outside its Node entries', () => {
    expect(imports.length).toBeGreaterThan(0);
    expect(imports.filter(isNode).map(shown)).toEqual([]);
    expect(imports.filter(({ module }) => module.startsWith(`${INTERNAL}/node/`)).map(shown)).toEqual([]);
    const ownNodeFiles = imports.filter((one) => isRelative(one) && isNodeFile(`${targetOf(one)}.ts`));
    expect(ownNodeFiles.map(shown)).toEqual([]);
  });

  test('chooses no backend: it imports only the core of TensorFlow.js', () => {
    const tensorflow = imports.filter(({ module }) => module.startsWith('@tensorflow/'));
    expect(tensorflow.filter((one) => packageOf(one) !== '@tensorflow/tfjs-core').map(shown)).toEqual([]);
  });
});

describe('the internal package', () => {
  const imports = importsIn('internal/src');

  test('imports nothing but its own files and, below src/node, Node', () => {
    expect(imports.length).toBeGreaterThan(0);
    expect(imports.filter((one) => !isRelative(one) && !isNode(one)).map(shown)).toEqual([]);
    expect(imports.filter((one) => isNode(one) && !isNodeFile(one.file)).map(shown)).toEqual([]);
  });

  test('has no import circle', () => {
    expect(importCircles('internal/src')).toEqual([]);
  });
});
