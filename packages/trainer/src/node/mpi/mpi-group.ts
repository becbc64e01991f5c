import { readFileSync, writeSync } from 'node:fs';
import { availableParallelism, hostname } from 'node:os';
import { setTimeout as wait } from 'node:timers/promises';
import { type Group, receiveError, type SentError, sendError } from '../../group';
import { endWithLauncher, type Launch, mpiLaunch } from './launcher';
import { type Mpi, openMpiLibrary } from './library';

/** What a rank says about itself. */
export interface RankInfo {
  readonly host: string;
  readonly pid: number;
  /** CPU cores that it may use, and which they are. */
  readonly cores: number;
  readonly allowed: string;
}

/** The processes that an MPI launcher has started. */
export interface MpiGroup extends Group {
  /** Of the MPI library. */
  readonly version: string;
  /** By rank. */
  readonly ranks: readonly RankInfo[];
  /**
   * A collective that takes longer ends the job: at least one rank has died without the launcher noticing, hangs, or works for longer.
   * Default 1800.
   */
  timeoutSeconds: number;
  /**
   * A signal for all ranks: once any rank's `signal` is aborted, it is aborted on all of them in the next collective. Every rank calls this.
   */
  shareSignal(signal: AbortSignal): AbortSignal;
  /** Waits for the other ranks, and leaves MPI. No function may be called afterwards. */
  close(): Promise<void>;
}

/** Functions of a group, as numbers that ranks compare. */
const KINDS = {
  allReduce: 1,
  allGather: 2,
  broadcast: 3,
  fail: 4,
  end: 5,
  reduceScatter: 6,
  allGatherRanges: 7,
} as const;
type Kind = keyof typeof KINDS;

/** Numbers that each rank sends before a collective: its kind, whether the rank was asked to stop, and the bytes that follow. */
const HEADER = 3;

/**
 * The group of the processes that `mpirun`, `mpiexec` or `srun` has started; undefined for a process that runs alone, for which nothing is
 * loaded.
 *
 * Every collective begins with a header from each rank. So a rank that has failed can say so wherever the others are, and ranks that are at
 * different places find out.
 *
 * @throws TrainingError if there is a launcher and its MPI library cannot be used
 */
export async function mpiGroup(launch: Launch | undefined = mpiLaunch()): Promise<MpiGroup | undefined> {
  return launch && groupOf(await openMpiLibrary(launch));
}

async function groupOf(mpi: Mpi): Promise<MpiGroup> {
  const { rank, size } = mpi;
  const everyone = Array.from({ length: size }, (_, i) => i);
  const stopWatching = endWithLauncher();
  const controller = new AbortController();
  const sharedErrors = new WeakSet<object>();
  let ownSignal: AbortSignal | undefined;
  let ranks: readonly RankInfo[] = [];
  let [done, waitingFor] = ['the start', 'the start'];
  let queue: Promise<unknown> = Promise.resolve();

  /** Runs collectives one after the other: all ranks must make them in the same order. */
  function inOrder<T>(run: () => Promise<T>): Promise<T> {
    const result = queue.then(run);
    queue = result.catch(() => {});
    return result;
  }

  /** Sends and receives headers, and throws if a rank has failed. Returns the number of bytes of each rank. */
  async function begin(kind: Kind, what: string, bytes = 0): Promise<number[]> {
    waitingFor = what;
    const isAsked = ownSignal?.aborted === true;
    const own = Int32Array.of(KINDS[kind], isAsked ? 1 : 0, bytes);
    const all = new Int32Array(HEADER * size);
    await mpi.allGather(bytesOf(own), bytesOf(all));
    const of = (i: number) => everyone.map((r) => all[r * HEADER + i]!);
    const [kinds, stops, lengths] = [of(0), of(1), of(2)];
    const asked = stops.indexOf(1);
    if (asked >= 0 && !controller.signal.aborted) {
      controller.abort(ownSignal?.aborted ? ownSignal.reason : new Error(`rank ${asked} was asked to stop`));
    }
    if (kind !== 'fail' && kinds.includes(KINDS.fail)) throw await gatherErrors(undefined);
    if (kinds.some((found) => found !== KINDS[kind]) && kind !== 'fail') {
      const places = await gatherJson(what);
      const other = kinds.findIndex((found) => found !== KINDS[kind]);
      throw new Error(`rank ${rank} is in the collective "${what}" while rank ${other} is in "${places[other]}"`);
    }
    return lengths;
  }

  /** Values of any length, without a header. */
  async function gatherJson<T>(value: T): Promise<T[]> {
    const own = encode(value);
    const lengths = new Int32Array(size);
    await mpi.allGather(bytesOf(Int32Array.of(own.length)), bytesOf(lengths));
    return gatherEncoded<T>(own, [...lengths]);
  }

  async function gatherEncoded<T>(own: Uint8Array, lengths: readonly number[]): Promise<T[]> {
    const received = new Uint8Array(lengths.reduce((sum, length) => sum + length, 0));
    await mpi.allGatherParts(own, received, lengths);
    let next = 0;
    return lengths.map((length) => {
      next += length;
      return decode<T>(received.subarray(next - length, next));
    });
  }

  /** The error that all ranks throw. @param own of this rank, if it has failed */
  async function gatherErrors(own: unknown): Promise<unknown> {
    const errors = await gatherJson<SentError | null>(own === undefined ? null : sendError(own));
    const failed = everyone.filter((r) => errors[r] !== null);
    const [first] = failed as [number];
    const sent = errors[first]!;
    // an error about data says where; that of a machine needs its rank
    const where = failed.length === size || sent.name === 'TrainingError' ? '' : `rank ${describe(first)}: `;
    const error = first === rank && where === '' ? own : receiveError({ ...sent, message: where + sent.message });
    if (typeof error === 'object' && error !== null) sharedErrors.add(error);
    return error;
  }

  const describe = (r: number) => `${r} of ${size}${ranks[r] ? ` (process ${ranks[r].pid} on ${ranks[r].host})` : ''}`;

  /** Runs a collective, and ends the job if it takes longer than `timeoutSeconds`. */
  async function watched<T>(what: string, run: () => Promise<T>): Promise<T> {
    const started = performance.now();
    let isEnding = false;
    const timer = setInterval(() => {
      if (isEnding) return; // endJob reads the signals
      const seconds = (performance.now() - started) / 1000;
      const isOver = seconds > group.timeoutSeconds;
      const asked = mpi.nextSignal?.();
      if (!isOver && asked === undefined) return;
      isEnding = true;
      void endJob(asked === undefined ? [] : [asked]);
    }, 500);
    try {
      const result = await run();
      done = what;
      return result;
    } finally {
      clearInterval(timer);
    }
  }

  /** Finds out which ranks wait, says which do not, and ends all. @param signalled ranks that wait */
  async function endJob(signalled: readonly number[]): Promise<void> {
    const waiting = new Set([rank, ...signalled]);
    if (mpi.signalRank && mpi.nextSignal) {
      for (const other of everyone) if (other !== rank) mpi.signalRank(other);
      for (const end = performance.now() + COLLECT_MS; performance.now() < end && waiting.size < size; ) {
        const found = mpi.nextSignal();
        if (found === undefined) await wait(20);
        else waiting.add(found);
      }
    }
    const missing = everyone.filter((r) => !waiting.has(r));
    if (rank === Math.min(...waiting)) writeSync(2, `${hangMessage(missing)}\n`);
    else await wait(2 * COLLECT_MS); // that rank ends the job
    await wait(100); // the launcher reads the message
    mpi.abort(1);
    process.kill(process.pid, 'SIGKILL');
  }

  function hangMessage(missing: readonly number[]): string {
    const limit = `within dist_timeout, ${group.timeoutSeconds} s`;
    if (!mpi.signalRank) {
      return `rank ${describe(rank)}: expected all ranks at "${waitingFor}" ${limit}, found that not all came there after "${done}". The job ends.`;
    }
    if (missing.length === 0) {
      return `MPI: expected the collective "${waitingFor}" to end ${limit}, found all ranks waiting in it. Check the network. The job ends.`;
    }
    const lines = missing.map(
      (r) => `rank ${describe(r)}: expected at "${waitingFor}" ${limit}, found that it has not come from "${done}".`,
    );
    return (
      `${lines.join('\n')} It hangs, was stopped, or lost its network, or its work takes longer: then raise dist_timeout. The job ends, and ` +
      'its last checkpoint is complete.'
    );
  }

  const collective = <T>(what: string, run: () => Promise<T>): Promise<T> => inOrder(() => watched(what, run));
  const isShared = (error: unknown) => typeof error === 'object' && error !== null && sharedErrors.has(error);
  const group: MpiGroup = {
    rank,
    size,
    version: mpi.version,
    get ranks() {
      return ranks;
    },
    timeoutSeconds: 1800,
    allReduce: (values, what) =>
      collective(what, async () => {
        await begin('allReduce', what);
        for (const one of values) await mpi.sum(one);
      }),
    reduceScatter: (values, what) =>
      collective(what, async () => {
        await begin('reduceScatter', what);
        for (const one of values) await mpi.reduceScatter(one);
      }),
    allGatherRanges: (values, what) =>
      collective(what, async () => {
        await begin('allGatherRanges', what);
        for (const one of values) await mpi.allGatherRanges(one);
      }),
    allGather: (value, what) =>
      collective(what, async () => {
        const own = encode(value);
        return gatherEncoded(own, await begin('allGather', what, own.length));
      }),
    broadcast: (value, what) =>
      collective(what, async () => {
        const own = rank === 0 ? encode(value) : new Uint8Array();
        const [length] = await begin('broadcast', what, own.length);
        const bytes = rank === 0 ? own : new Uint8Array(length!);
        await mpi.broadcast(bytes);
        return rank === 0 ? value : decode(bytes);
      }),
    agree: async (flag, what) => (await group.allGather(flag, what)).includes(true),
    fail: (error) =>
      isShared(error)
        ? Promise.resolve(error)
        : collective('an error', async () => {
            await begin('fail', 'an error');
            return gatherErrors(error);
          }),
    shareSignal(signal) {
      ownSignal = signal;
      return controller.signal;
    },
    close: () =>
      collective('the end', async () => {
        await begin('end', 'the end');
        mpi.finalize();
        stopWatching();
      }),
  };
  ranks = await group.allGather(rankInfo(), 'the start');
  return group;
}

const rankInfo = (): RankInfo => ({
  host: hostname(),
  pid: process.pid,
  cores: availableParallelism(),
  allowed: allowedCores(),
});

/** The numbers of the CPU cores that this process may use, e.g. `0-3`; empty where the system does not say. */
function allowedCores(): string {
  try {
    return /^Cpus_allowed_list:\s*(.*)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '';
  } catch {
    return '';
  }
}

/** Milliseconds in which waiting ranks answer. They look every half second, and later where other programs use the cores. */
const COLLECT_MS = 5000;

const bytesOf = (numbers: Int32Array) => new Uint8Array(numbers.buffer);

/** In a list, because a value may be undefined. */
const encode = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify([value ?? null]));
const decode = <T>(bytes: Uint8Array): T => (JSON.parse(new TextDecoder().decode(bytes)) as [T])[0];
