import { spawnSync } from 'node:child_process';

/** Memory of NVIDIA's GPUs that each process holds, by its pid; empty where there is no GPU, or it does not say. */
export function deviceBytes(): ReadonlyMap<number, number> {
  const asked = ['--query-compute-apps=pid,used_memory', '--format=csv,noheader,nounits'];
  const { stdout } = spawnSync('nvidia-smi', asked, { encoding: 'utf8' });
  return readUsage(stdout ?? '');
}

/** Lines of `PID, MIB`; a process has a line for each GPU that it uses. */
export function readUsage(lines: string): Map<number, number> {
  const bytes = new Map<number, number>();
  for (const [, pid, mib] of lines.matchAll(/^(\d+), (\d+)$/gm)) {
    bytes.set(Number(pid), (bytes.get(Number(pid)) ?? 0) + Number(mib) * 2 ** 20);
  }
  return bytes;
}
