import { COMPILER_MENDS } from '../../install/addon.mjs';
import { DISK_NEEDED, PIP_MENDS } from '../../install/runtime.mjs';
import { TENSORFLOW } from '../../install/wheels.mjs';
import type { Facts } from './facts';

/** One thing the doctor looked at. */
export interface DoctorCheck {
  /** What was looked at, e.g. `TensorFlow`. */
  name: string;
  /** Whether training works as it stands. */
  ok: boolean;
  /** What was found, e.g. `2.21.0, CPU build`. */
  found: string;
  /** What to do about it; on a check that is ok, what would make it better. */
  mend?: string;
}

/** What the doctor found. */
export interface DoctorReport {
  /** Whether every check is ok. */
  ok: boolean;
  checks: DoctorCheck[];
}

const INSTALL = 'npx wpo-tensorflow install';

/** Below this there is no room for a model beside TensorFlow itself. */
const LEAST_MEMORY = 2e9;
const LEAST_DISK = 1e9;

/** Judges a machine by its facts alone. */
export function judge(facts: Facts): DoctorReport {
  const checks = [
    node(facts),
    tensorflow(facts),
    devices(facts),
    processor(facts),
    threads(facts),
    memory(facts),
    ...facts.disk.map((disk) => diskSpace(disk, facts)),
  ];
  return { ok: checks.every(({ ok }) => ok), checks };
}

function node({ node: { version, platform } }: Facts): DoctorCheck {
  const ok = Number(version.split('.')[0]) >= 20;
  return check('Node', ok, `${version} on ${platform}`, ok ? undefined : 'install Node 20, 22 or 24');
}

function tensorflow({ tensorflow: found, tools }: Facts): DoctorCheck {
  const name = 'TensorFlow';
  switch (found.state) {
    case 'no package':
      return check(name, false, '@tensorflow/tfjs-node-gpu is not installed', installing(tools));
    case 'not installed':
      return check(name, false, 'not installed under @tensorflow/tfjs-node-gpu', installing(tools));
    case 'broken':
      return check(name, false, `in ${found.path}, and does not work: ${found.error}`, repairing(found.path));
    case 'works': {
      const build = found.variant === undefined ? '' : `, ${found.variant === 'gpu' ? 'CUDA' : 'CPU'} build`;
      const fused = found.fused ? ', fused operations' : '';
      const speed = `matrix products at ${found.gflops} GFLOP/s`;
      return check(name, true, `${found.version}${build}${fused}, ${speed}, in ${found.path}`, improving(found));
    }
  }
}

function installing({ pip, compiler }: Facts['tools']): string {
  const first = [
    ...(pip === undefined ? [`install pip (${PIP_MENDS.join('; ')})`] : []),
    ...(compiler === undefined ? [`install a C++ compiler (${COMPILER_MENDS.join('; ')})`] : []),
  ];
  return [...first, `run ${INSTALL}`].join(', then ');
}

function improving({ version, fused, path }: Extract<Facts['tensorflow'], { state: 'works' }>): string | undefined {
  if (version !== TENSORFLOW) return `${INSTALL} puts ${TENSORFLOW} in its place`;
  if (fused) return undefined;
  return `for faster training: install g++ 12 or later, then rm -r '${path}'/addon-* and run ${INSTALL}`;
}

const repairing = (path: string) =>
  `delete that folder and run ${INSTALL}: rm -r '${path}'; if it says the same again, this machine cannot load it`;

function devices({ tensorflow: found, gpus }: Facts): DoctorCheck {
  const usesGpu = found.state === 'works' && found.usesGpu;
  const list = [...new Set(gpus)].map((gpu) => `${gpus.filter((name) => name === gpu).length} x ${gpu}`).join(', ');
  if (usesGpu) return check('Devices', true, `GPU: ${list || 'in use'}`);
  if (gpus.length === 0) return check('Devices', true, 'CPU (no NVIDIA GPU here)');
  const mend =
    found.state === 'works' && found.variant === 'gpu'
      ? "TF_CPP_MIN_LOG_LEVEL=0 shows why TensorFlow leaves the GPU out: its driver, or a CUDA library that it can't find"
      : `${INSTALL} --variant gpu`;
  return check('Devices', false, `CPU only, though there is ${list}`, mend);
}

function processor({ processor: { model, cores, instructions } }: Facts): DoctorCheck {
  const fast = instructions.length > 0 ? ` (${instructions.join(' ')})` : '';
  return check('Processor', true, `${cores} x ${model}${fast}`);
}

function threads({ threads: usable, processor: { cores } }: Facts): DoctorCheck {
  const mend =
    usable < cores
      ? 'this process is held to fewer cores than there are: mpirun needs --bind-to none, containers a higher limit'
      : undefined;
  return check('Threads', true, `${usable} of ${cores} cores`, mend);
}

function memory({ memory: { total, available } }: Facts): DoctorCheck {
  const ok = available >= LEAST_MEMORY;
  const mend = ok
    ? undefined
    : `end other programs, or take a machine with more: ${gigabytes(LEAST_MEMORY)} is the least`;
  return check('Memory', ok, `${gigabytes(available)} available of ${gigabytes(total)}`, mend);
}

function diskSpace({ path, free }: Facts['disk'][number], { tensorflow: found, gpus }: Facts): DoctorCheck {
  const installed = found.state === 'works' || found.state === 'broken';
  const least = installed ? LEAST_DISK : DISK_NEEDED[gpus.length > 0 ? 'gpu' : 'cpu'];
  const ok = free >= least;
  const mend = ok ? undefined : `free some: ${gigabytes(least)} is the least`;
  return check('Disk', ok, `${gigabytes(free)} free in ${path}`, mend);
}

function check(name: string, ok: boolean, found: string, mend?: string): DoctorCheck {
  return { name, ok, found, ...(mend !== undefined && { mend }) };
}

const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`;

/** A report as lines for a terminal: `ok` or `!!` and what was found, and below it what to do, where there is something. */
export function formatDoctor(report: DoctorReport): string {
  const width = Math.max(...report.checks.map(({ name }) => name.length));
  const lines = report.checks.flatMap(({ name, ok, found, mend }) => [
    `${ok ? 'ok' : '!!'}  ${name.padEnd(width)}  ${found}`,
    ...(mend === undefined ? [] : [`    ${' '.repeat(width)}  -> ${mend}`]),
  ]);
  const wrong = report.checks.filter(({ ok }) => !ok).length;
  const sum = wrong === 0 ? 'All is well.' : `${wrong} ${wrong === 1 ? 'thing is' : 'things are'} wrong.`;
  return [...lines, '', sum].join('\n');
}
