import { cpus } from 'node:os';
import type { AvailableMemory } from '@wpo/tensorflow/kernels';
import { type Group, orFail, soloGroup } from '@wpo/trainer';
import { gpuCount, type MpiGroup, mpiGroup, type RankInfo } from '@wpo/trainer/node';
import { InterruptedError } from './errors';
import type { Backend } from './models';
import type { StopSignal } from './terminal/signals';
import { Screen, type Terminal } from './terminal/terminal';

/** The processes of a command: those that `mpirun` has started, or one. */
export interface Processes {
  readonly group: Group;
  /** Whether this is the process that writes files and prints. */
  readonly isFirst: boolean;
  /** Sets the time that a collective may take. */
  setTimeout(seconds: number): void;
  /** Stops all processes when one of them gets a signal. @internal */
  shareStop(stop: StopSignal, terminal: Terminal): StopSignal;
  /** Runs work that leaves files for later, such as downloads: on one process per machine, then on the others. */
  oncePerMachine<T>(work: () => Promise<T>): Promise<T>;
  /** The backend with this process's share of the machine's memory. @internal */
  shareMemory(backend: Backend): Backend;
}

/** This process alone. */
export const alone: Processes = {
  group: soloGroup,
  isFirst: true,
  setTimeout() {},
  shareStop: (stop) => stop,
  oncePerMachine: (work) => work(),
  shareMemory: (backend) => backend,
};

/**
 * Runs a command in each of the processes that `mpirun`, `mpiexec` or `srun` has started, or in this one. Only rank 0 prints. If one fails,
 * all end.
 *
 * @param work gets a terminal for this process
 * @returns the exit status
 */
export async function withProcesses(
  terminal: Terminal,
  work: (processes: Processes, terminal: Terminal) => Promise<number>,
): Promise<number> {
  const group = await mpiGroup();
  if (group === undefined) return work(alone, terminal);
  const own = group.rank === 0 ? terminal : silentTerminal();
  try {
    useOwnPart(group, own);
    const status = await work(processesOf(group), own);
    await group.close();
    return status;
  } catch (error) {
    const shared = await group.fail(error);
    await group.close();
    if (group.rank === 0) throw shared;
    return shared instanceof InterruptedError ? shared.status : 1;
  }
}

/** A terminal for a process whose output rank 0 has already. */
function silentTerminal(): Terminal {
  const nowhere = { write() {} };
  return new Screen({ stdout: nowhere, stderr: nowhere });
}

/** Ranks on the same machine. */
const localRanks = (ranks: readonly RankInfo[], rank: number): number[] =>
  [...ranks.keys()].filter((other) => ranks[other]!.host === ranks[rank]!.host);

/** The threads of a rank: its share of the CPU cores that it may use together with others. */
export function threadsOf(ranks: readonly RankInfo[], rank: number): number {
  const { cores, allowed } = ranks[rank]!;
  const sharing = localRanks(ranks, rank).filter((other) => ranks[other]!.allowed === allowed);
  return Math.max(1, Math.floor(cores / sharing.length));
}

/** Gives this process its part of the machine, before TensorFlow is loaded: threads of the CPU, and one GPU. */
function useOwnPart({ ranks, rank }: MpiGroup, { stderr }: Terminal): void {
  const local = localRanks(ranks, rank);
  const threads = String(threadsOf(ranks, rank));
  process.env.WPO_THREADS ??= threads;
  process.env.TF_NUM_INTRAOP_THREADS ??= threads;
  const isBound = local.some((other) => ranks[other]!.allowed !== ranks[rank]!.allowed);
  if (isBound && Number(threads) < Math.floor(cpus().length / local.length)) {
    stderr.write(
      `MPI: rank ${rank} is bound to ${threads} of ${cpus().length} CPU cores, which ${local.length} processes on this machine could ` +
        'share. For all cores add --bind-to none to the command of mpirun.\n',
    );
  }
  const gpus = process.env.CUDA_VISIBLE_DEVICES?.split(',') ?? Array.from({ length: gpuCount() }, (_, i) => String(i));
  if (gpus.length > 1) process.env.CUDA_VISIBLE_DEVICES = gpus[local.indexOf(rank) % gpus.length];
}

function processesOf(group: MpiGroup): Processes {
  const local = localRanks(group.ranks, group.rank);
  return {
    group,
    isFirst: group.rank === 0,
    setTimeout(seconds) {
      group.timeoutSeconds = seconds;
    },
    shareStop(stop, { stderr }) {
      const signal = group.shareSignal(stop.signal);
      signal.addEventListener('abort', () => {
        if (!stop.signal.aborted) stderr.write(`${(signal.reason as Error).message}: all ranks stop.\n`);
      });
      return { ...stop, signal, status: () => stop.status() || TERMINATED };
    },
    async oncePerMachine<T>(work: () => Promise<T>) {
      const isFirstHere = local[0] === group.rank;
      const before = await orFail(group, async () => (isFirstHere ? { result: await work() } : undefined));
      await group.agree(false, 'downloads');
      return before ? before.result : work();
    },
    shareMemory: (backend) => ({
      ...backend,
      availableMemory: shareOf(backend.availableMemory, local.length),
      hostMemory: shareOf(backend.hostMemory, local.length),
    }),
  };
}

/** 128 + SIGTERM. */
const TERMINATED = 143;

/** Memory that a machine's processes share. It is measured once, before they load models: later each would see what the others hold. */
function shareOf<T extends AvailableMemory | undefined>(measure: () => T, processes: number): () => T {
  let share: number | undefined;
  return () => {
    const found = measure();
    if (found === undefined || !['machine', 'container'].includes(found.limit)) return found;
    const held = process.memoryUsage.rss();
    share ??= found.bytes / processes + held;
    return { ...found, bytes: Math.max(0, Math.min(found.bytes, share - held)) };
  };
}
