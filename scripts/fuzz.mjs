// `npm run fuzz -- [FAMILY…] [--cases N] [--seed N] [--path PATH]`: runs families of hostile input; see docs/reliability.md.
import { parseArgs } from 'node:util';
import { setUpOrExit } from './setup.mjs';

await setUpOrExit({ quiet: true });
const { buildFamilies, families, runFamily } = await import('../fuzz/run.mjs');
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { cases: { type: 'string', default: '50000' }, seed: { type: 'string' }, path: { type: 'string' } },
});
const number = (name, least, fallback) => {
  const value = Number(values[name] ?? fallback);
  if (Number.isSafeInteger(value) && value >= least) return value;
  throw new Error(`--${name}: expected an integer of at least ${least}, found ${values[name]}.`);
};
const unknown = positionals.find((name) => !families.includes(name));
if (unknown) throw new Error(`expected one of the families ${families.join(', ')}, found ${unknown}.`);
const cases = number('cases', 1);
const seed = number('seed', 0, Math.floor(Math.random() * 2 ** 31));

await buildFamilies();
for (const name of positionals.length > 0 ? positionals : families) {
  try {
    const { counts, slowest, peakMb } = await runFamily(name, { seed, cases, path: values.path });
    const outcomes = Object.entries(counts).map(([outcome, count]) => `${count.toLocaleString('en')} ${outcome}`);
    const limits = `slowest case ${slowest.toFixed(2)} s, peak memory ${Math.round(peakMb)} MB`;
    const ran = values.path ? 'one case' : `${cases.toLocaleString('en')} cases`;
    console.log(`${name}: ${ran}, seed ${seed}: ${outcomes.sort().join(', ')}; ${limits}`);
  } catch (error) {
    console.log(error.message);
    process.exitCode = 1;
  }
}
