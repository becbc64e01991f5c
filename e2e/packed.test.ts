import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { apiProblems, packageFolders } from '../scripts/api-report.mjs';
import { checkTarball } from '../scripts/release-checks.mjs';
import { examplePackages, testExamples } from './examples';
import { testNodeVersions } from './node-versions';
import { emptyProject, npmInstall, readJson, run, script } from './project';
import { built, LONG, programs, publishedPackages } from './support';

// Tests of the tarballs as they would be published, installed with npm into empty projects outside this repository.

const root = fileURLToPath(new URL('..', import.meta.url));
const NAMES = publishedPackages();

const folder = mkdtempSync(join(tmpdir(), 'wpo-packed-'));
afterAll(() => rmSync(folder, { recursive: true }));

const tarball = (name: string) => {
  const file = readdirSync(join(folder, 'tarballs')).find((found) => found.startsWith(`wpo-${name}-`));
  return join(folder, 'tarballs', file!);
};

beforeAll(async () => {
  await built();
  run(process.execPath, [join(root, 'scripts/pack.mjs'), join(folder, 'tarballs')], root);
  expect(readdirSync(join(folder, 'tarballs'))).toHaveLength(NAMES.length + 1); // and pnpm-workspace.yaml
}, LONG);

describe.each(NAMES)('@wpo/%s as packed', (name) => {
  test('passes the checks of a release: publint, attw, links, source maps, no second copy of code', () => {
    const { files, problems } = checkTarball(tarball(name));
    expect(problems).toEqual([]);
    expect(files).toBeGreaterThan(5);
  });
});

test('the public types of the packages are those in packages/*/etc', () => {
  expect(apiProblems(packageFolders())).toEqual([]);
});

describe('@wpo/loss alone, in an empty project', () => {
  let project: string;
  beforeAll(() => {
    const { version } = readJson(join(root, 'node_modules/@tensorflow/tfjs/package.json')) as { version: string };
    project = emptyProject(folder, 'alone');
    npmInstall(project, tarball('loss'), `@tensorflow/tfjs@${version}`);
  }, LONG);

  test('installs no native module', () => {
    const files = readdirSync(join(project, 'node_modules'), { recursive: true, encoding: 'utf8' });
    expect(files).toContain(join('@wpo', 'loss', 'dist', 'index.js'));
    expect(files.filter((path) => path.endsWith('.node') || path.endsWith('.gyp'))).toEqual([]);
    expect(readdirSync(join(project, 'node_modules/@tensorflow')).filter((name) => name.includes('node'))).toEqual([]);
    expect(readdirSync(join(project, 'node_modules/@wpo'))).toEqual(['loss']);
  });

  test("runs its README's example on TensorFlow.js's CPU backend", () => {
    const [example] = programs(join(project, 'node_modules/@wpo/loss/README.md'));
    writeFileSync(join(project, 'example.mjs'), `${example!.code}\nconsole.log('backend', tf.getBackend());\n`);
    const output = run(process.execPath, ['--no-addons', 'example.mjs'], project);
    const value = (metric: string) =>
      [...output.matchAll(new RegExp(`'${metric}': (\\S+?),?\\s`, 'g'))].map(([, number]) => Number(number));
    expect(value('rewards/margins')).toHaveLength(2);
    expect(value('rewards/margins')[0]).toBe(0);
    expect(value('rewards/margins')[1]).toBeGreaterThan(0);
    expect(value('rewards/accuracies')[1]).toBe(1);
    expect(output).toContain('backend cpu');
  });

  test('has the same exports by import and by require', () => {
    const names = 'console.log(JSON.stringify(Object.keys(loss).sort()))';
    const imported = script(project, 'names.mjs', `import * as loss from '@wpo/loss'; ${names}`);
    const required = script(project, 'names.cjs', `const loss = require('@wpo/loss'); ${names}`);
    expect(JSON.parse(imported)).toContain('wpoLoss');
    expect(required).toBe(imported);
  });
});

describe('all packages, installed with pnpm', () => {
  test('as the README says: with the overrides that the pack command writes', () => {
    const project = emptyProject(folder, 'pnpm');
    const manager = (readJson(join(root, 'package.json')) as { packageManager: string }).packageManager;
    copyFileSync(join(folder, 'tarballs/pnpm-workspace.yaml'), join(project, 'pnpm-workspace.yaml'));
    run('npx', ['-y', manager, 'add', '--prefer-offline', '--ignore-scripts', ...NAMES.map(tarball)], project);
    expect(readdirSync(join(project, 'node_modules/@wpo')).sort()).toEqual([...NAMES].sort());
    expect(run('npx', ['-y', manager, 'exec', 'wpo', '--version'], project).trim()).toMatch(/^\d+\.\d+\.\d+$/);
  });
});

describe('all packages, in an empty project', () => {
  let project: string;
  const manifest = (name: string) =>
    readJson(join(project, 'node_modules/@wpo', name, 'package.json')) as {
      readonly version: string;
      readonly dependencies?: Readonly<Record<string, string>>;
      readonly exports: Readonly<Record<string, string | Record<'import' | 'require', { types: string }>>>;
    };
  /** Every entry with code, such as `@wpo/gemma/node`; JSON files are data. */
  const entries = () =>
    NAMES.flatMap((name) =>
      Object.keys(manifest(name).exports)
        .filter((path) => !path.endsWith('.json'))
        .map((path) => `@wpo/${name}${path.slice(1)}`),
    );
  beforeAll(() => {
    project = emptyProject(folder, 'all');
    npmInstall(project, ...NAMES.map(tarball), ...examplePackages());
  }, LONG);

  test('are installed once each and depend on each other by version', () => {
    for (const name of NAMES) {
      expect(existsSync(join(project, 'node_modules/@wpo', name, 'node_modules/@wpo'))).toBe(false);
      for (const [dependency, range] of Object.entries(manifest(name).dependencies ?? {})) {
        if (dependency.startsWith('@wpo/')) expect(range).toBe(`^${manifest(dependency.slice(5)).version}`);
      }
    }
  });

  test('contain the code and types of the internal package', () => {
    for (const name of NAMES) {
      const dist = join(project, 'node_modules/@wpo', name, 'dist');
      const files = readdirSync(dist).filter((file) => !file.endsWith('.map'));
      const open = files.filter((file) => readFileSync(join(dist, file), 'utf8').includes('@wpo/internal'));
      expect([name, open]).toEqual([name, []]);
    }
  });

  test('run these commands without TensorFlow, as its installer says', () => {
    const data = join(root, 'demo/data/eval.jsonl');
    const prompts = join(root, 'demo/model');
    expect(run('npx', ['wpo', 'inspect', data, '--tokenizer', prompts], project)).toContain('pairs');
    const scored = join(project, 'scored.jsonl');
    const rows = [0, 1].map((score) => ({
      prompt_id: 'a',
      prompt: 'p',
      completion: `text ${score}`,
      source: 's',
      seed: score,
      score,
    }));
    writeFileSync(scored, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    expect(run('npx', ['wpo', 'pair', '--answers', scored, '--out', join(project, 'pairs.jsonl')], project)).toContain(
      'pairs',
    );
  });

  test('name the command that installs TensorFlow, and the command works', () => {
    const load =
      "import('@wpo/tensorflow').then((m) => console.log(m.tensorflowVersion), (e) => console.log(e.message))";
    expect(script(project, 'load.mjs', load)).toContain('npx wpo-tensorflow install');
    run('npx', ['wpo-tensorflow', 'install'], project);
    expect(script(project, 'load.mjs', load)).toMatch(/^\d+\.\d+\.\d+$/);
  });

  test('have the same exports in every entry by import and by require', () => {
    const list = JSON.stringify(entries());
    const imported = script(
      project,
      'names.mjs',
      `const all = {}; for (const entry of ${list}) all[entry] = Object.keys(await import(entry)).sort();
       console.log(JSON.stringify(all));`,
    );
    const required = script(
      project,
      'names.cjs',
      `const all = {}; for (const entry of ${list}) all[entry] = Object.keys(require(entry)).sort();
       console.log(JSON.stringify(all));`,
    );
    expect(JSON.parse(required)).toEqual(JSON.parse(imported));
    for (const names of Object.values(JSON.parse(imported) as Record<string, string[]>)) {
      expect(names.length).toBeGreaterThan(0);
    }
  });

  test('have types for every entry, in ES modules and CommonJS', () => {
    const imports = entries().map((entry, i) => `import * as m${i} from '${entry}';`);
    // an entry without types would be an error under `strict`
    const uses = entries().map((_, i) => `export const keys${i} = Object.keys(m${i});`);
    for (const file of ['user.mts', 'user.cts']) writeFileSync(join(project, file), [...imports, ...uses].join('\n'));
    const options = ['--noEmit', '--strict', '--skipLibCheck', '--module', 'node20', '--target', 'es2022'];
    run(join(root, 'node_modules/.bin/tsc'), [...options, 'user.mts', 'user.cts'], project);
  });

  test('encode a file in threads by import and by require, and leave no thread running', () => {
    const tiny = join(root, 'packages/data/test/fixtures/tiny');
    const code = `
      setTimeout(() => process.exit(9), 60_000).unref(); // fires only if something keeps the process alive
      (async () => {
        const { tokenizer, chatTemplate } = await loadTokenizerFolder('${tiny}');
        const own = tokenizer.encode.bind(tokenizer);
        let here = 0;
        tokenizer.encode = (text) => (here++, own(text));
        const read = (workers) => readPairs('${tiny}/pairs.jsonl', { tokenizer, chatTemplate, workers });
        const all = async (pairs) => { const list = []; for await (const pair of pairs) list.push(pair); return list; };
        const threaded = await all(read(2));
        const calls = here;
        const same = JSON.stringify(threaded) === JSON.stringify(await all(read(1)));
        for await (const _ of read(2)) break;
        await read(2).next();
        console.log(threaded.length, calls, same);
      })();`;
    const imported = script(
      project,
      'a.mjs',
      `import { loadTokenizerFolder, readPairs } from '@wpo/data/node';${code}`,
    );
    const required = script(
      project,
      'a.cjs',
      `const { loadTokenizerFolder, readPairs } = require('@wpo/data/node');${code}`,
    );
    const { length } = readFileSync(join(tiny, 'pairs.jsonl'), 'utf8').trim().split('\n');
    expect([imported, required]).toEqual(Array(2).fill(`${length} 0 true`));
  });

  test('generate text from the command line', () => {
    const model = join(root, 'packages/gemma/test/fixtures/golden/tiny');
    const answer = run('npx', ['wpo', 'generate', '--model', model, '--prompt', 'Hi', '--json'], project);
    expect((JSON.parse(answer) as { completion_ids: number[] }).completion_ids.length).toBeGreaterThan(0);
  });

  testExamples(() => project);
  testNodeVersions(() => project);
});
