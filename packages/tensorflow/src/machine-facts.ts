import { existsSync, readFileSync, statfsSync, statSync } from 'node:fs';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { findCompiler } from '../install/addon.mjs';
import { run } from '../install/command.mjs';
import { findPackage, linkedRuntime } from '../install/package.mjs';
import { probe } from '../install/probe.mjs';
import { defaultCache, variantOf } from '../install/runtime.mjs';
import { findPip } from '../install/wheels.mjs';
import { processMemory } from './process-memory';

/** The facts about a machine that the doctor checks. Sizes are in bytes. */
export interface MachineFacts {
  node: { version: string; platform: string };
  /** The TensorFlow library of tfjs-node, and whether it loads. */
  tensorflow:
    | { state: 'no package' }
    | { state: 'not installed' }
    | { state: 'broken'; error: string; path: string }
    | {
        state: 'works';
        version: string;
        /** The build; undefined if tfjs-node's own installer installed it. */
        variant: 'cpu' | 'gpu' | undefined;
        usesGpu: boolean;
        /** Whether the native operations were built. */
        native: boolean;
        /** Whether weights can be held in bfloat16. */
        store: boolean;
        /** Speed of a float32 matrix product, in GFLOP/s. */
        gflops: number;
        path: string;
      };
  tools: { pip: string | undefined; compiler: string | undefined };
  /** Names of the NVIDIA GPUs. */
  gpus: string[];
  cpu: { model: string; cores: number; instructions: string[] };
  /** Cores that this process may use. */
  threads: number;
  memory: { total: number; available: number };
  disk: { path: string; free: number }[];
}

/** Gathers the facts of this machine. Loads TensorFlow in another process, which takes seconds. */
export function gatherFacts(): MachineFacts {
  // one folder per disk
  const folders = new Map([nearestFolder(defaultCache()), process.cwd()].map((path) => [statSync(path).dev, path]));
  return {
    node: { version: process.versions.node, platform: `${process.platform}-${process.arch}` },
    tensorflow: tensorflow(),
    tools: { pip: findPip()?.join(' '), compiler: findCompiler() },
    gpus: gpus(),
    cpu: cpu(),
    threads: availableParallelism(),
    memory: memory(),
    disk: [...folders.values()].map((path) => ({ path, free: freeSpace(path) })),
  };
}

const nativeAddon = (usesGpu: boolean) => `lib/napi-v8/${usesGpu ? 'gpu' : 'kernels'}.node`;

function tensorflow(): MachineFacts['tensorflow'] {
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
        native: existsSync(join(folder, nativeAddon(found.usesGpu))),
        path,
      };
}

function gpus(): string[] {
  const { ok, output } = run('nvidia-smi', ['--query-gpu=name', '--format=csv,noheader']);
  return ok ? output.split('\n').filter((name) => name !== '') : [];
}

/** CPU features that determine the speed of matrix products. */
const FAST_INSTRUCTIONS = /^(avx|avx2|avx512f|avx512_bf16|avx512_vnni|amx_bf16|amx_tile|asimd|bf16|sve)$/;

function cpu(): MachineFacts['cpu'] {
  const [first] = cpus();
  const flags = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(readText('/proc/cpuinfo'))?.[1]?.split(/\s+/) ?? [];
  return {
    model: first?.model.trim() || 'unknown CPU',
    cores: cpus().length,
    instructions: flags.filter((flag) => FAST_INSTRUCTIONS.test(flag)),
  };
}

function memory(): MachineFacts['memory'] {
  // the container's limit; without a limit, it is 0 or above the machine's memory
  const limit = process.constrainedMemory();
  const total = limit > 0 ? Math.min(limit, totalmem()) : totalmem();
  return { total, available: Math.min(processMemory().bytes, total) };
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
