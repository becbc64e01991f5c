import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { processMemory } from '../src/process-memory';
import { scratch } from './install/scratch';

const GB = 1e9;
const kB = (bytes: number) => `${bytes / 1024} kB`;

/** A file system with these files. */
function root(files: Readonly<Record<string, string>>): string {
  const folder = scratch();
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  return folder;
}

const machine = { 'proc/meminfo': `MemTotal: ${kB(64 * GB)}\nMemFree: 1 kB\nMemAvailable:   ${kB(32 * GB)}\n` };
const limits = (space: string, data = 'unlimited') =>
  'Limit                     Soft Limit           Hard Limit           Units\n' +
  `Max data size             ${data}            unlimited            bytes\n` +
  `Max address space         ${space}            unlimited            bytes\n`;
const unlimited = { 'proc/self/limits': limits('unlimited'), 'proc/self/status': `VmSize:\t${kB(8 * GB)}\n` };

test('without limits it is what the machine has available', () => {
  expect(processMemory(root({ ...machine, ...unlimited }))).toEqual({ bytes: 32 * GB, limit: 'machine' });
});

test('ulimit -v and ulimit -d count what the process uses already', () => {
  const status = { 'proc/self/status': `VmSize:\t${kB(8 * GB)}\nVmData:\t ${kB(4 * GB)}\n` };
  const found = (text: string) => processMemory(root({ ...machine, ...status, 'proc/self/limits': text }));
  expect(found(limits(String(20 * GB)))).toEqual({ bytes: 12 * GB, limit: 'ulimit -v' });
  expect(found(limits('unlimited', String(9 * GB)))).toEqual({ bytes: 5 * GB, limit: 'ulimit -d' });
  expect(found(limits(String(2 * GB)))).toEqual({ bytes: 0, limit: 'ulimit -v' });
});

test("a container's limit counts what it uses, without the file cache that can be dropped", () => {
  const v2 = {
    'proc/self/cgroup': '0::/jobs/a\n',
    'sys/fs/cgroup/memory.stat': '',
    'sys/fs/cgroup/jobs/memory.max': `${20 * GB}\n`,
    'sys/fs/cgroup/jobs/memory.current': `${12 * GB}\n`,
    'sys/fs/cgroup/jobs/memory.stat': `anon 1\ninactive_file ${3 * GB}\nactive_file 7\n`,
    'sys/fs/cgroup/jobs/a/memory.max': 'max\n',
    'sys/fs/cgroup/jobs/a/memory.current': '5\n',
  };
  expect(processMemory(root({ ...machine, ...unlimited, ...v2 }))).toEqual({ bytes: 11 * GB, limit: 'container' });
  const v1 = {
    'proc/self/cgroup': '5:cpu,cpuacct:/x\n4:memory:/host/path\n0::/\n',
    'sys/fs/cgroup/memory/memory.limit_in_bytes': `${10 * GB}\n`,
    'sys/fs/cgroup/memory/memory.usage_in_bytes': `${4 * GB}\n`,
    'sys/fs/cgroup/memory/memory.stat': `total_inactive_file ${GB}\n`,
  };
  expect(processMemory(root({ ...machine, ...unlimited, ...v1 }))).toEqual({ bytes: 7 * GB, limit: 'container' });
  const none = { ...v1, 'sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712\n' };
  expect(processMemory(root({ ...machine, ...unlimited, ...none }))).toEqual({ bytes: 32 * GB, limit: 'machine' });
});

test('on this machine it is a number of bytes', () => {
  expect(processMemory().bytes).toBeGreaterThan(1e6);
});
