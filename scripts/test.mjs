// `npm test [-- VITEST ARGS]`: sets up, checks types and style, runs the tests, and ends with `N passed, N failed`.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureMpi } from './ensure-mpi.mjs';
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

/** Installs the optional dependencies of some tests. Without them those tests are skipped with a message. */
function ensureOptional() {
  const python = ensurePython();
  if (python) process.env.WPO_PYTHON = python;
  ensureMpi();
}

/** Runs a tool from node_modules. A failure counts as one failed test; success counts as nothing. */
async function check(name, tool, args) {
  const { status } = await node(tool, args);
  console.log(`${name}: ${status === 0 ? 'passed' : 'failed, see above'}`);
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

/** Counts as failures, too: a file that did not load, an error outside all tests, a run without tests. */
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
  else if (status !== 0)
    console.log(`vitest exited with ${status === null ? 'a signal' : `status ${status}`}, although no test failed.`);
  return { passed, failed: passed === 0 || status !== 0 ? 1 : 0, skipped };
}

function readReport(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    console.log('vitest wrote no report.');
    return undefined;
  }
}

/** Runs a tool from node_modules and forwards signals to it, so that it does not outlive this process. */
function node(tool, args) {
  const child = spawn(process.execPath, [join(root, 'node_modules', tool), ...args], { cwd: root, stdio: 'inherit' });
  const forward = (signal) => child.kill(signal);
  process.on('SIGINT', forward).on('SIGTERM', forward);
  return new Promise((done, fail) => {
    child.on('error', fail);
    child.on('close', (status) => {
      process.off('SIGINT', forward).off('SIGTERM', forward);
      done({ status });
    });
  });
}
