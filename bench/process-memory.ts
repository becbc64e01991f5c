import { readdirSync, readFileSync } from 'node:fs';

/** A line of `/proc/PID/FILE` in bytes; null where there is none: the process is gone, or this is not Linux. */
function bytesIn(path: string, key: string): number | null {
  try {
    const found = readFileSync(path, 'utf8').match(new RegExp(`^${key}:\\s+(\\d+) kB`, 'm'));
    return found ? Number(found[1]) * 1024 : null;
  } catch {
    return null;
  }
}

/** The most resident memory that this process has held. */
export const peakBytes = (): number | null => bytesIn('/proc/self/status', 'VmHWM');

/** Resident memory of this process now. */
export const residentBytes = (): number => process.memoryUsage.rss();

/** Memory of a process and all that it started, what they share counted once; null where the system does not say. */
export function treeBytes(pid: number): number | null {
  const parents = parentOf();
  if (!parents) return null;
  const isBelow = (one: number): boolean => one === pid || (parents.has(one) && isBelow(parents.get(one)!));
  const sizes = [...parents.keys()].filter(isBelow).map((one) => bytesIn(`/proc/${one}/smaps_rollup`, 'Pss') ?? 0);
  return sizes.reduce((total, size) => total + size, 0);
}

function parentOf(): Map<number, number> | null {
  try {
    const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
    return new Map(pids.flatMap((pid) => parentEntry(pid)));
  } catch {
    return null;
  }
}

function parentEntry(pid: string): [number, number][] {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return [[Number(pid), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])]];
  } catch {
    return []; // ended meanwhile
  }
}

/** Watches a process's tree while `task` runs; resolves to the most that it held. */
export async function watchTree<T>(pid: number, task: () => Promise<T>): Promise<{ result: T; bytes: number | null }> {
  let most: number | null = null;
  const look = () => {
    const now = treeBytes(pid);
    if (now !== null) most = Math.max(most ?? 0, now);
  };
  const timer = setInterval(look, 500);
  try {
    return { result: await task(), bytes: most };
  } finally {
    clearInterval(timer);
  }
}
