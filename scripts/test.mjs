// `npm test [-- VITEST ARGS]`: sets up, checks types and style, runs the tests, and closes on `N passed, N failed`.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensurePython } from './ensure-python.mjs';
import { describe, root, setUp } from './setup.mjs';

const counts = [];
try {
  await setUp({ declarations: true });
  ensureOptional();
  counts.push(await check('Types', 'typescript/bin/tsc', ['--noEmit', '-p', 'tsconfig.json']));
  counts.push(await check('Style', '@biomejs/biome/bin/biome', ['check', '--error-on-warnings', '.']));
  counts.push(await vitest(process.argv.slice(2)));
} catch (error) {
  console.error(describe(error));
  counts.push({ failed: 1 });
}

const sum = (key) => counts.reduce((total, count) => total + (count[key] ?? 0), 0);
const [passed, failed, skipped] = ['passed', 'failed', 'skipped'].map(sum);
process.exitCode = failed > 0 ? 1 : 0;
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);

/** What some tests use where it can be had, each put in place by its own script; they are skipped aloud without it. */
function ensureOptional() {
  const python = ensurePython();
  if (python) process.env.WPO_PYTHON = python;
}

/** Runs a tool from node_modules; its failure counts as one, its success is nothing to count. */
async function check(name, tool, args) {
  const { status } = await node(tool, args);
  console.log(`${name}: ${status === 0 ? 'right' : 'wrong, see above'}`);
  return { failed: status === 0 ? 0 : 1 };
}

async function vitest(args) {
  const folder = mkdtempSync(join(tmpdir(), 'wpo-test-'));
  const report = join(folder, 'report.json');
  try {
    const { status } = await node('vitest/vitest.mjs', [
      'run',
      '--reporter=default',
      '--reporter=json',
      `--outputFile.json=${report}`,
      ...args,
    ]);
    return count(readReport(report), status);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Nothing is taken for success that is not: a file that did not load, an error outside all tests, a run of no tests. */
function count(report, status) {
  const tests = (report?.testResults ?? []).flatMap((file) => {
    const failures = file.assertionResults.filter((test) => test.status === 'failed').length;
    if (file.status === 'failed' && failures === 0)
      console.log(`${file.name} failed outside its tests: ${file.message ?? ''}`);
    return file.status === 'failed' && failures === 0
      ? [...file.assertionResults, { status: 'failed' }]
      : file.assertionResults;
  });
  const passed = tests.filter((test) => test.status === 'passed').length;
  const failed = tests.filter((test) => test.status === 'failed').length;
  const skipped = tests.length - passed - failed;
  if (failed > 0) return { passed, failed, skipped };
  if (passed === 0) console.log('No test ran.');
  else if (status !== 0) console.log(`vitest ended with ${status ?? 'a signal'}, though no test failed.`);
  return { passed, failed: passed === 0 || status !== 0 ? 1 : 0, skipped };
}

function readReport(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    console.log('vitest left no report.');
    return undefined;
  }
}

/** Runs a tool of node_modules to its end, and passes signals on to it: none is left running where this run is stopped. */
function node(tool, args) {
  const child = spawn(process.execPath, [join(root, 'node_modules', tool), ...args], { cwd: root, stdio: 'inherit' });
  const passOn = (signal) => child.kill(signal);
  process.on('SIGINT', passOn).on('SIGTERM', passOn);
  return new Promise((done, fail) => {
    child.on('error', fail);
    child.on('close', (status) => {
      process.off('SIGINT', passOn).off('SIGTERM', passOn);
      done({ status });
    });
  });
}
