import { COMPILER_HINTS } from '../install/addon.mjs';
import { DISK_NEEDED, PIP_HINTS } from '../install/runtime.mjs';
import { TENSORFLOW } from '../install/wheels.mjs';
import { gatherFacts, type MachineFacts } from './machine-facts';

export type { MachineFacts };

/** One check of the doctor. */
export interface DoctorCheck {
  /** What was checked, e.g. `TensorFlow`. */
  name: string;
  /** Whether training works without a fix. */
  ok: boolean;
  /** What was found, e.g. `2.21.0, CPU build`. */
  found: string;
  /** How to fix it; if `ok`, how to improve it. */
  hint?: string;
}

export interface DoctorReport {
  /** Whether every check is ok. */
  ok: boolean;
  checks: DoctorCheck[];
}

/**
 * Checks Node, TensorFlow, devices, CPU, threads, memory and disk. It loads TensorFlow in another process, which takes seconds,
 * so it works even if TensorFlow is missing or broken.
 */
export async function doctor(): Promise<DoctorReport> {
  return checkMachine(gatherFacts());
}

const INSTALL = 'npx wpo-tensorflow install';

/** Bytes. With less memory there is no room for a model next to TensorFlow itself. */
const MIN_MEMORY = 2e9;
const MIN_DISK = 1e9;

/** The report on a machine with the given facts. */
export function checkMachine(facts: MachineFacts): DoctorReport {
  const checks = [
    node(facts),
    tensorflow(facts),
    ...weights(facts),
    ...precision(facts),
    devices(facts),
    cpu(facts),
    threads(facts),
    memory(facts),
    ...facts.disk.map((disk) => diskSpace(disk, facts)),
  ];
  return { ok: checks.every(({ ok }) => ok), checks };
}

function node({ node: { version, platform } }: MachineFacts): DoctorCheck {
  const ok = Number(version.split('.')[0]) >= 20;
  return check('Node', ok, `${version} on ${platform}`, ok ? undefined : 'install Node 20, 22, 24 or 26');
}

function tensorflow({ tensorflow: found, tools }: MachineFacts): DoctorCheck {
  const name = 'TensorFlow';
  switch (found.state) {
    case 'no package':
      return check(name, false, '@tensorflow/tfjs-node-gpu is not installed', installHint(tools));
    case 'not installed':
      return check(name, false, 'not installed under @tensorflow/tfjs-node-gpu', installHint(tools));
    case 'broken':
      return check(name, false, `in ${found.path}, does not load: ${found.error}`, repairHint(found.path));
    case 'works': {
      const build = found.variant === undefined ? '' : `, ${found.variant === 'gpu' ? 'CUDA' : 'CPU'} build`;
      const native = found.native ? ', native operations' : '';
      const speed = `matrix products at ${found.gflops} GFLOP/s`;
      return check(name, true, `${found.version}${build}${native}, ${speed}, in ${found.path}`, improvementHint(found));
    }
  }
}

function weights({ tensorflow: found }: MachineFacts): DoctorCheck[] {
  if (found.state !== 'works') return [];
  const mapped = found.usesGpu ? '' : ', mapped from their files or in memory';
  return [check('Weights', true, found.store ? `bfloat16 or float32${mapped}` : 'float32')];
}

/** What products with `precision: bfloat16` are computed by. */
function precision({ tensorflow: found, cpu: { instructions } }: MachineFacts): DoctorCheck[] {
  if (found.state !== 'works') return [];
  const unit = ['amx_bf16', 'avx512_bf16'].find((name) => instructions.includes(name));
  const found16 = !found.native
    ? 'float32 products of rounded operands, slower than float32: there are no native operations'
    : found.usesGpu
      ? 'the GPU’s matrix units'
      : (unit ?? 'float32 products of rounded operands: as fast as float32');
  return [check('bfloat16', true, found16)];
}

function installHint({ pip, compiler }: MachineFacts['tools']): string {
  const first = [
    ...(pip === undefined ? [`install pip (${PIP_HINTS.join('; ')})`] : []),
    ...(compiler === undefined ? [`install a C++ compiler (${COMPILER_HINTS.join('; ')})`] : []),
  ];
  return [...first, `run ${INSTALL}`].join(', then ');
}

const repairHint = (path: string) =>
  `delete that folder and install again: rm -r '${path}' && ${INSTALL}. If the error stays, this machine cannot load ` +
  'TensorFlow';

function improvementHint({
  version,
  native,
  path,
}: Extract<MachineFacts['tensorflow'], { state: 'works' }>): string | undefined {
  if (version !== TENSORFLOW) return `run ${INSTALL} to replace it with ${TENSORFLOW}`;
  if (native) return undefined;
  return `for faster training, install g++ 12 or later, then run rm -r '${path}'/addon-* && ${INSTALL}`;
}

function devices({ tensorflow: found, gpus }: MachineFacts): DoctorCheck {
  const usesGpu = found.state === 'works' && found.usesGpu;
  const list = [...new Set(gpus)].map((gpu) => `${gpus.filter((name) => name === gpu).length} x ${gpu}`).join(', ');
  if (usesGpu) return check('Devices', true, `GPU: ${list || 'in use'}`);
  if (gpus.length === 0) return check('Devices', true, 'CPU (no NVIDIA GPU found)');
  const hint =
    found.state === 'works' && found.variant === 'gpu'
      ? 'set TF_CPP_MIN_LOG_LEVEL=0 to see why TensorFlow does not use the GPU, such as an old driver or a missing CUDA library'
      : `run ${INSTALL} --variant gpu`;
  return check('Devices', false, `CPU only, although the machine has ${list}`, hint);
}

function cpu({ cpu: { model, cores, instructions } }: MachineFacts): DoctorCheck {
  const fast = instructions.length > 0 ? ` (${instructions.join(' ')})` : '';
  return check('CPU', true, `${cores} x ${model}${fast}`);
}

function threads({ threads: usable, cpu: { cores } }: MachineFacts): DoctorCheck {
  const hint =
    usable < cores
      ? 'this process cannot use all cores: give mpirun --bind-to none, or the container a higher CPU limit'
      : undefined;
  return check('Threads', true, `${usable} of ${cores} cores`, hint);
}

function memory({ memory: { total, available } }: MachineFacts): DoctorCheck {
  const ok = available >= MIN_MEMORY;
  const hint = ok
    ? undefined
    : `end other programs, or use a machine with more memory: at least ${gigabytes(MIN_MEMORY)} are needed`;
  return check('Memory', ok, `${gigabytes(available)} available of ${gigabytes(total)}`, hint);
}

function diskSpace(
  { path, free }: MachineFacts['disk'][number],
  { tensorflow: found, gpus }: MachineFacts,
): DoctorCheck {
  const installed = found.state === 'works' || found.state === 'broken';
  const needed = installed ? MIN_DISK : DISK_NEEDED[gpus.length > 0 ? 'gpu' : 'cpu'];
  const ok = free >= needed;
  const hint = ok ? undefined : `free disk space: at least ${gigabytes(needed)} are needed`;
  return check('Disk', ok, `${gigabytes(free)} free in ${path}`, hint);
}

function check(name: string, ok: boolean, found: string, hint?: string): DoctorCheck {
  return { name, ok, found, ...(hint !== undefined && { hint }) };
}

const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`;

/** Formats a report for a terminal: one line per check, `ok` or `!!`, and its hint below. */
export function formatDoctor(report: DoctorReport): string {
  const width = Math.max(...report.checks.map(({ name }) => name.length));
  const lines = report.checks.flatMap(({ name, ok, found, hint }) => [
    `${ok ? 'ok' : '!!'}  ${name.padEnd(width)}  ${found}`,
    ...(hint === undefined ? [] : [`    ${' '.repeat(width)}  -> ${hint}`]),
  ]);
  const failed = report.checks.filter(({ ok }) => !ok).length;
  const summary = failed === 0 ? 'All checks passed.' : `${failed} ${failed === 1 ? 'check' : 'checks'} failed.`;
  return [...lines, '', summary].join('\n');
}
