import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

/** The peak resident memory of this process in bytes; null where the system does not report it. */
export const peakBytes = (): number | null => readKilobytes('/proc/self/status', 'VmHWM');

/**
 * Samples the anonymous memory of a process. Unlike resident memory, it does not count the pages of mapped files, which the system
 * can drop and read again.
 */
export function watchAnonymous(pid: number): { readonly peak: () => number | null; readonly stop: () => void } {
  let peak: number | null = null;
  const sample = () => {
    const now = anonymousBytes(pid);
    if (now !== null) peak = Math.max(peak ?? 0, now);
  };
  const timer = setInterval(sample, 50);
  return { peak: () => peak, stop: () => clearInterval(timer) };
}

/** `RssAnon` and `RssShmem` of a process, in bytes; null where the system does not report it. */
export function anonymousBytes(pid: number): number | null {
  const [anonymous, shared] = ['RssAnon', 'RssShmem'].map((key) => readKilobytes(`/proc/${pid}/status`, key));
  return anonymous == null ? null : anonymous + (shared ?? 0);
}

/** The resident memory of this process now, in bytes. */
export const residentBytes = (): number => process.memoryUsage.rss();

/** Runs `task` while sampling the memory of a process and its descendants; resolves to the task's result and the peak. */
export async function watchTree<T>(pid: number, task: () => Promise<T>): Promise<{ result: T; bytes: number | null }> {
  let peak: number | null = null;
  const sample = () => {
    const now = treeBytes(pid);
    if (now !== null) peak = Math.max(peak ?? 0, now);
  };
  const timer = setInterval(sample, 500);
  try {
    return { result: await task(), bytes: peak };
  } finally {
    clearInterval(timer);
  }
}

/** GPU memory that each process holds, by pid; empty where there is no NVIDIA GPU or the driver does not report it. */
export function deviceBytes(): ReadonlyMap<number, number> {
  const query = ['--query-compute-apps=pid,used_memory', '--format=csv,noheader,nounits'];
  const { stdout } = spawnSync('nvidia-smi', query, { encoding: 'utf8' });
  return parseDeviceUsage(stdout ?? '');
}

/** Parses lines of `PID, MIB`. A process has one line for each GPU that it uses. */
export function parseDeviceUsage(lines: string): Map<number, number> {
  const bytes = new Map<number, number>();
  for (const [, pid, mib] of lines.matchAll(/^(\d+), (\d+)$/gm)) {
    bytes.set(Number(pid), (bytes.get(Number(pid)) ?? 0) + Number(mib) * 2 ** 20);
  }
  return bytes;
}

/** A `KEY: N kB` line of a file under /proc, in bytes; null where there is none: the process has ended, or this is not Linux. */
function readKilobytes(path: string, key: string): number | null {
  try {
    const found = readFileSync(path, 'utf8').match(new RegExp(`^${key}:\\s+(\\d+) kB`, 'm'));
    return found ? Number(found[1]) * 1024 : null;
  } catch {
    return null;
  }
}

/** Memory of a process and its descendants, shared pages counted once; null where the system does not report it. */
function treeBytes(pid: number): number | null {
  const parents = readParents();
  if (!parents) return null;
  const isInTree = (one: number): boolean => one === pid || (parents.has(one) && isInTree(parents.get(one)!));
  const sizes = [...parents.keys()].filter(isInTree).map((one) => readKilobytes(`/proc/${one}/smaps_rollup`, 'Pss'));
  return sizes.reduce<number>((total, size) => total + (size ?? 0), 0);
}

/** The parent of every process on the machine. */
function readParents(): Map<number, number> | null {
  try {
    const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
    return new Map(pids.flatMap(readParent));
  } catch {
    return null;
  }
}

function readParent(pid: string): [number, number][] {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return [[Number(pid), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])]];
  } catch {
    return []; // the process has ended in the meantime
  }
}
