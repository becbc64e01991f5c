import { readdirSync, readFileSync } from 'node:fs';
import { freemem } from 'node:os';
import { join } from 'node:path';

/** Memory that can still be allocated, and what limits it. */
export interface AvailableMemory {
  readonly bytes: number;
  /** `ulimit -v` and `ulimit -d` limit this process, a container (a cgroup) all processes in it. */
  readonly limit: 'GPU' | 'machine' | 'container' | 'ulimit -v' | 'ulimit -d';
}

/** The memory that this process can still allocate. @param root of the file system, for tests */
export function processMemory(root = '/'): AvailableMemory {
  const read = (path: string) => readText(join(root, path));
  return [machineMemory(read), ...containers(root), ...userLimits(read)].reduce((least, next) =>
    next.bytes < least.bytes ? next : least,
  );
}

type Read = (path: string) => string;

/** Unlike what is free, what is available includes the kernel's file cache, which it can drop. */
function machineMemory(read: Read): AvailableMemory {
  const kilobytes = /^MemAvailable:\s*(\d+) kB$/m.exec(read('proc/meminfo'))?.[1];
  return { bytes: kilobytes === undefined ? freemem() : 1024 * Number(kilobytes), limit: 'machine' };
}

/** A limit of this number of bytes or more is none. */
const NO_LIMIT = 2 ** 60;

/** What the limits of this process's cgroup and its parents leave, in both versions of the interface. */
function containers(root: string): AvailableMemory[] {
  const found: AvailableMemory[] = [];
  for (const [, controllers, path] of readText(join(root, 'proc/self/cgroup')).matchAll(/^\d+:([^:]*):(.*)$/gm)) {
    const isV2 = controllers === '';
    if (!isV2 && !controllers!.split(',').includes('memory')) continue;
    const mount = join(root, 'sys/fs/cgroup', isV2 ? '' : 'memory');
    const names = path!.split('/').filter((name) => name !== '');
    // inside a container, the path may be the host's; then only the mount's own limit can be read
    for (let depth = 0; depth <= names.length; depth++) {
      const folder = join(mount, ...names.slice(0, depth));
      if (!isFolder(folder)) break;
      const number = (file: string) => Number(/^\d+/.exec(readText(join(folder, file)))?.[0] ?? Number.NaN);
      const max = number(isV2 ? 'memory.max' : 'memory.limit_in_bytes');
      const used = number(isV2 ? 'memory.current' : 'memory.usage_in_bytes');
      const key = isV2 ? 'inactive_file' : 'total_inactive_file';
      const cache = Number(new RegExp(`^${key} (\\d+)$`, 'm').exec(readText(join(folder, 'memory.stat')))?.[1] ?? 0);
      if (max < NO_LIMIT && used >= 0) found.push({ bytes: Math.max(0, max - used + cache), limit: 'container' });
    }
  }
  return found;
}

function userLimits(read: Read): AvailableMemory[] {
  const [limits, status] = [read('proc/self/limits'), read('proc/self/status')];
  const left = (name: string, used: string, limit: AvailableMemory['limit']): AvailableMemory[] => {
    const max = new RegExp(`^${name}\\s+(\\d+)\\s`, 'm').exec(limits)?.[1];
    const kilobytes = new RegExp(`^${used}:\\s*(\\d+) kB$`, 'm').exec(status)?.[1];
    if (max === undefined || kilobytes === undefined) return [];
    return [{ bytes: Math.max(0, Number(max) - 1024 * Number(kilobytes)), limit }];
  };
  return [...left('Max address space', 'VmSize', 'ulimit -v'), ...left('Max data size', 'VmData', 'ulimit -d')];
}

function isFolder(path: string): boolean {
  try {
    readdirSync(path);
    return true;
  } catch {
    return false;
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
