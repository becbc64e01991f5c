import { readdirSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';

// Which package may know which: what would be a cycle is passed in by the command line, which composes them all.
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  loss: [],
  data: [],
  eval: ['data'],
  gemma: [],
  trainer: ['loss'],
  tensorflow: ['gemma', 'trainer'],
  cli: ['loss', 'data', 'eval', 'gemma', 'trainer', 'tensorflow'],
};
/** What the packages share. Their builds bundle it, so it is a development dependency and may import none of them. */
const INTERNAL = '@wpo/internal';
/** Packages that run in a browser too, but for their `/node` entries. */
const ANYWHERE = ['loss', 'data', 'eval', 'gemma', 'trainer'];

const packages = fileURLToPath(new URL('../packages', import.meta.url));

interface Import {
  /** From `packages/`, e.g. `gemma/src/policy.ts`. */
  readonly file: string;
  /** As it stands in the source. */
  readonly wanted: string;
}

/** Every import, re-export, dynamic import and require in a package's sources, of types too. */
function importsOf(name: string): Import[] {
  const src = join(packages, name, 'src');
  return readdirSync(src, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .flatMap((path) => {
      const { importedFiles } = ts.preProcessFile(readFileSync(join(src, path), 'utf8'), true, true);
      return importedFiles.map(({ fileName }) => ({ file: join(name, 'src', path), wanted: fileName }));
    });
}

const isRelative = ({ wanted }: Import) => wanted.startsWith('.');
const isNode = ({ wanted }: Import) => wanted.startsWith('node:') || builtinModules.includes(wanted);
/** Files of the entries that run in Node only: every `/node` entry, and `@wpo/data/hub`. */
const isNodeFile = (file: string) => /^[^/]+\/src\/node(\.ts$|\/)|^data\/src\/hub\//.test(file);
/** `@wpo/gemma` of `@wpo/gemma/node`. */
const moduleOf = ({ wanted }: Import) => wanted.split('/', wanted.startsWith('@') ? 2 : 1).join('/');
/** What a relative import means, from `packages/`. */
const targetOf = ({ file, wanted }: Import) => join(dirname(file), wanted);
const shown = ({ file, wanted }: Import) => `${file} imports ${wanted}`;

test('every package has its arrows here', () => {
  expect(readdirSync(packages).sort()).toEqual(Object.keys(ARROWS).sort());
});

describe.each(Object.keys(ARROWS))('packages/%s', (name) => {
  const imports = importsOf(name);

  test('imports those siblings alone that its arrows allow, and those by name', () => {
    const allowed = ARROWS[name]!.map((sibling) => `@wpo/${sibling}`);
    const siblings = imports.filter(({ wanted }) => wanted.startsWith('@wpo/'));
    expect(siblings.filter((one) => ![...allowed, INTERNAL].includes(moduleOf(one))).map(shown)).toEqual([]);
    const outside = imports.filter(isRelative).filter((one) => !targetOf(one).startsWith(`${name}/`));
    expect(outside.map(shown)).toEqual([]);
  });

  test('declares every module that it imports', () => {
    const { dependencies, devDependencies, optionalDependencies, peerDependencies } = JSON.parse(
      readFileSync(join(packages, name, 'package.json'), 'utf8'),
    );
    expect(Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies })).not.toContain(INTERNAL);
    const declared = Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies });
    if (devDependencies?.[INTERNAL]) declared.push(INTERNAL);
    const modules = imports.filter((one) => !isRelative(one) && !isNode(one));
    expect(modules.length).toBeGreaterThan(0);
    expect(modules.filter((one) => !declared.includes(moduleOf(one))).map(shown)).toEqual([]);
  });
});

describe.each(ANYWHERE)('packages/%s, which runs anywhere,', (name) => {
  const imports = importsOf(name).filter(({ file }) => !isNodeFile(file));

  test('imports nothing of Node outside its /node entry', () => {
    expect(imports.length).toBeGreaterThan(0);
    expect(imports.filter(isNode).map(shown)).toEqual([]);
    const ownNodeFiles = imports.filter((one) => isRelative(one) && isNodeFile(`${targetOf(one)}.ts`));
    expect(ownNodeFiles.map(shown)).toEqual([]);
  });

  test('chooses no backend: of TensorFlow.js it imports the core alone', () => {
    const tensorflow = imports.filter(({ wanted }) => wanted.startsWith('@tensorflow/'));
    expect(tensorflow.filter((one) => moduleOf(one) !== '@tensorflow/tfjs-core').map(shown)).toEqual([]);
  });
});
