// Reads the files of two public test suites, and prints how many were read right:
//
//   node fuzz/public-suites.mjs --json DIR                     test_parsing/ of github.com/nst/JSONTestSuite
//   node fuzz/public-suites.mjs --parquet DIR --peer PYTHON    a clone of github.com/apache/parquet-testing; PYTHON has pyarrow
//
// Needs a build: npm run setup.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { readRecords, readRows } from '../packages/data/dist/node.js';

const { values: options } = parseArgs({
  options: { json: { type: 'string' }, parquet: { type: 'string' }, peer: { type: 'string' } },
});
const folder = mkdtempSync(join(tmpdir(), 'wpo-suites-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

if (options.json) await jsonTestSuite(options.json);
if (options.parquet) await parquetTesting(options.parquet, options.peer);

/** Puts each file of the suite into a row, in files of one and of three rows. Its name says whether it is valid: y_, n_ or i_ (either). */
async function jsonTestSuite(suite) {
  const row = (value) =>
    Buffer.concat([Buffer.from('{"prompt":"p","chosen":"c","rejected":"r","extra":'), value, Buffer.from('}')]);
  const file = (...parts) => Buffer.concat(parts.map((part) => Buffer.from(part)));
  const one = row(Buffer.from('1'));
  const counts = { right: 0, either: 0, wrong: 0 };
  for (const name of readdirSync(suite)) {
    const tested = row(readFileSync(join(suite, name)));
    const forms = [
      ['json', 1, file('[', tested, ']')],
      ['json', 3, file('[', one, ',\n', tested, ',\n', one, ']\n')],
    ];
    if (!/[\r\n]/.test(tested.toString('latin1'))) {
      forms.push(['jsonl', 1, file(tested, '\n')], ['jsonl', 3, file(one, '\n', tested, '\r\n', one)]);
    }
    for (const [extension, rows, bytes] of forms) {
      const path = join(folder, `rows.${extension}`);
      writeFileSync(path, bytes);
      const read = await count(readRows(path));
      if (name.startsWith('i_')) counts.either++;
      else if (name.startsWith('y_') ? read === rows : Number.isNaN(read)) counts.right++;
      else {
        counts.wrong++;
        console.log(`${name} as ${extension} of ${rows}: ${Number.isNaN(read) ? 'refused' : `${read} rows`}`);
      }
    }
  }
  console.log(`JSONTestSuite: ${counts.right} right, ${counts.either} that may be either, ${counts.wrong} other`);
}

/** The number of rows, or NaN where they are refused. */
async function count(rows) {
  let read = 0;
  try {
    for await (const _ of rows) read++;
  } catch {
    return Number.NaN;
  }
  return read;
}

async function parquetTesting(suite, peer) {
  const files = {};
  for (const part of ['data', 'bad_data']) {
    for (const name of readdirSync(join(suite, part)).filter((file) => file.endsWith('.parquet'))) {
      const rows = [];
      try {
        for await (const { value } of readRecords(join(suite, part, name))) rows.push(value);
        files[`${part}/${name}`] = { rows };
      } catch (error) {
        files[`${part}/${name}`] = { error: error.message };
      }
    }
  }
  const path = join(folder, 'rows.json');
  writeFileSync(
    path,
    JSON.stringify(files, (_, value) => (typeof value === 'bigint' ? `${value}` : value)),
  );
  const script = fileURLToPath(new URL('public-suites.py', import.meta.url));
  process.exitCode = spawnSync(peer ?? 'python3', [script, suite, path], { stdio: 'inherit' }).status ?? 1;
}
