import { existsSync, readFileSync, statfsSync, statSync } from 'node:fs';
import { availableParallelism, cpus, freemem, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { findCompiler } from '../../install/addon.mjs';
import { run } from '../../install/command.mjs';
import { linkedRuntime } from '../../install/layout.mjs';
import { findPackage } from '../../install/package.mjs';
import { probe } from '../../install/probe.mjs';
import { defaultCache, variantOf } from '../../install/runtime.mjs';
import { findPip } from '../../install/wheels.mjs';

/** What there is on a machine, as far as TensorFlow and training are concerned. Sizes are in bytes. */
export interface Facts {
  node: { version: string; platform: string };
  /** How TensorFlow lies under tfjs-node, and whether it works. */
  tensorflow:
    | { state: 'no package' }
    | { state: 'not installed' }
    | { state: 'broken'; error: string; path: string }
    | {
        state: 'works';
        version: string;
        /** Which build; undefined where tfjs-node's own installer chose. */
        variant: 'cpu' | 'gpu' | undefined;
        usesGpu: boolean;
        /** Whether the fused operations in C++ were built. */
        fused: boolean;
        /** Speed of a float32 matrix product. */
        gflops: number;
        path: string;
      };
  tools: { pip: string | undefined; compiler: string | undefined };
  /** NVIDIA's names of the GPUs in this machine. */
  gpus: string[];
  processor: { model: string; cores: number; instructions: string[] };
  /** Cores that this process may use. */
  threads: number;
  memory: { total: number; available: number };
  disk: { path: string; free: number }[];
}

/** Looks at this machine. Loads TensorFlow in a process of its own, which takes seconds; changes nothing. */
export function gatherFacts(): Facts {
  // one folder a disk
  const folders = new Map([nearestFolder(defaultCache()), process.cwd()].map((path) => [statSync(path).dev, path]));
  return {
    node: { version: process.versions.node, platform: `${process.platform}-${process.arch}` },
    tensorflow: tensorflow(),
    tools: { pip: findPip()?.join(' '), compiler: findCompiler() },
    gpus: gpus(),
    processor: processor(),
    threads: availableParallelism(),
    memory: memory(),
    disk: [...folders.values()].map((path) => ({ path, free: freeSpace(path) })),
  };
}

const fusedAddon = (usesGpu: boolean) => `lib/napi-v8/${usesGpu ? 'gpu' : 'kernels'}.node`;

function tensorflow(): Facts['tensorflow'] {
  const folder = findPackage();
  if (folder === undefined) return { state: 'no package' };
  const path = linkedRuntime(folder);
  if (path === undefined) return { state: 'not installed' };
  const found = probe();
  return 'error' in found
    ? { state: 'broken', error: found.error, path }
    : {
        state: 'works',
        ...found,
        variant: variantOf(path),
        fused: existsSync(join(folder, fusedAddon(found.usesGpu))),
        path,
      };
}

function gpus(): string[] {
  const { ok, output } = run('nvidia-smi', ['--query-gpu=name', '--format=csv,noheader']);
  return ok ? output.split('\n').filter((name) => name !== '') : [];
}

/** Those of a processor's instructions that decide how fast TensorFlow's matrix products are. */
const FAST_INSTRUCTIONS = /^(avx|avx2|avx512f|avx512_bf16|avx512_vnni|amx_bf16|amx_tile|asimd|bf16|sve)$/;

function processor(): Facts['processor'] {
  const [first] = cpus();
  const flags = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(readText('/proc/cpuinfo'))?.[1]?.split(/\s+/) ?? [];
  return {
    model: first?.model.trim() || 'unknown processor',
    cores: cpus().length,
    instructions: flags.filter((flag) => FAST_INSTRUCTIONS.test(flag)),
  };
}

function memory(): Facts['memory'] {
  // os.freemem counts what the kernel uses as a cache, and would give back, as taken
  const kilobytes = /^MemAvailable:\s*(\d+) kB$/m.exec(readText('/proc/meminfo'))?.[1];
  const available = kilobytes === undefined ? freemem() : Number(kilobytes) * 1024;
  // a container's limit, or 0 and numbers beyond the machine's where there is none
  const limit = process.constrainedMemory();
  const total = limit > 0 ? Math.min(limit, totalmem()) : totalmem();
  return { total, available: Math.min(available, total) };
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function freeSpace(path: string): number {
  const { bavail, bsize } = statfsSync(path);
  return bavail * bsize;
}

function nearestFolder(path: string): string {
  return existsSync(path) ? path : nearestFolder(dirname(path));
}
