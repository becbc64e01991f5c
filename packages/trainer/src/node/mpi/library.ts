import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { TrainingError } from '../../errors';
import type { GroupNumbers, RankRanges } from '../../group';
import { type Launch, launcherLibraryFolders } from './launcher';

// The functions of an MPI library, called through koffi. Buffers are passed by address: each call keeps its buffers until it has ended,
// because koffi does not.

type Koffi = typeof import('koffi');
type Library = ReturnType<Koffi['load']>;

/** The MPI library that a process has loaded. */
export interface Mpi {
  readonly rank: number;
  readonly size: number;
  /** E.g. `Open MPI v5.0.11`. */
  readonly version: string;
  /** Gathers as many bytes from each rank: `received` is `[size · sent.length]`. */
  allGather(sent: Uint8Array, received: Uint8Array): Promise<void>;
  /** Gathers `counts[rank]` bytes from each rank. */
  allGatherParts(sent: Uint8Array, received: Uint8Array, counts: readonly number[]): Promise<void>;
  /** Sends the bytes of rank 0 to all. */
  broadcast(bytes: Uint8Array): Promise<void>;
  /** Replaces values by their sums over all ranks. */
  sum(values: GroupNumbers): Promise<void>;
  /** Replaces the values of this rank's range by their sums over all ranks. */
  reduceScatter(values: RankRanges): Promise<void>;
  /** Replaces the values of every range by those of its rank. */
  allGatherRanges(values: RankRanges): Promise<void>;
  /** Sends this rank's number to another rank without waiting. Absent if the library cannot do it while another call waits. */
  readonly signalRank?: (rank: number) => void;
  /** The rank whose number arrived next; undefined for none. Absent with `signalRank`. */
  readonly nextSignal?: () => number | undefined;
  /** Ends all processes of the job. */
  abort(status: number): void;
  /** Leaves MPI, on the thread that has entered it, as MPI demands. */
  finalize(): void;
}

/** The values of constants and handles, which the two families of libraries define otherwise. */
interface Constants {
  /** The C type of a handle. */
  readonly handle: 'uintptr_t' | 'int';
  readonly world: bigint | number;
  readonly float: bigint | number;
  readonly double: bigint | number;
  readonly byte: bigint | number;
  readonly sum: bigint | number;
  readonly inPlace: bigint;
  readonly ignoreStatus: bigint;
  readonly anySource: number;
}

/** Those of MPICH, and of Intel MPI, MVAPICH and Cray MPICH, which have its binary interface. */
const MPICH: Constants = {
  handle: 'int',
  world: 0x44000000,
  float: 0x4c00040a,
  double: 0x4c00080b,
  byte: 0x4c00010d,
  sum: 0x58000003,
  inPlace: 0xffff_ffff_ffff_ffffn, // (void*) -1
  ignoreStatus: 1n,
  anySource: -2,
};

/** Open MPI's handles are addresses of its symbols. */
const openMpi = (koffi: Koffi, library: Library): Constants => {
  const address = (name: string) => koffi.address(library.symbol(name));
  return {
    handle: 'uintptr_t',
    world: address('ompi_mpi_comm_world'),
    float: address('ompi_mpi_float'),
    double: address('ompi_mpi_double'),
    byte: address('ompi_mpi_byte'),
    sum: address('ompi_mpi_op_sum'),
    inPlace: 1n,
    ignoreStatus: 0n,
    anySource: -1,
  };
};

const NAMES = {
  'Open MPI': ['libmpi.so.40', 'libmpi.40.dylib'],
  MPICH: ['libmpi.so.12', 'libmpich.so.12', 'libmpi.12.dylib', 'libmpich.12.dylib'],
} as const;

/** The path of an MPI library, instead of one that is found by its name. */
const PATH_VARIABLE = 'WPO_MPI';

/**
 * Settings of the libraries below MPI (UCX, Open MPI, libfabric), unless the user sets them: do not rewrite the code of `brk`, `munmap` and others of
 * the C library, by which they notice freed memory. Node's threads run that code at the same time, and V8's heap was destroyed.
 */
const NO_MEMORY_HOOKS = {
  UCX_MEM_EVENTS: 'n',
  OMPI_MCA_memory: '^patcher',
  FI_MR_CACHE_MONITOR: 'disabled',
};

/**
 * Loads the MPI library of the launcher, and connects the processes.
 *
 * @throws TrainingError if koffi or the library is missing, or the library does not find the launcher's processes
 */
export async function openMpiLibrary(launch: Launch): Promise<Mpi> {
  for (const [name, value] of Object.entries(NO_MEMORY_HOOKS)) process.env[name] ??= value;
  const koffi = await loadKoffi();
  const library = loadLibrary(koffi, launch);
  const mpi = connect(koffi, library);
  if (mpi.size === launch.size) return mpi;
  throw new TrainingError(
    `MPI: expected ${launch.size} processes, as many as were started, found ${mpi.size} with ${mpi.version}. The launcher belongs to ` +
      `another MPI. Start the processes with the mpirun of that library, or set ${PATH_VARIABLE} to the libmpi of the launcher.`,
  );
}

async function loadKoffi(): Promise<Koffi> {
  try {
    const { default: koffi } = await import('koffi');
    return koffi as unknown as Koffi;
  } catch (error) {
    throw new TrainingError(
      `MPI: expected the package koffi, which calls the MPI library, found ${(error as Error).message.split('\n')[0]}. Run ` +
        '`npm install koffi`, or start one process without mpirun.',
      { cause: error },
    );
  }
}

function loadLibrary(koffi: Koffi, { family }: Launch): Library {
  const named = process.env[PATH_VARIABLE];
  const families = family === undefined ? (['Open MPI', 'MPICH'] as const) : [family];
  const names = families.flatMap((name) => NAMES[name]);
  const besideLauncher = launcherLibraryFolders().flatMap((folder) => names.map((name) => join(folder, name)));
  const candidates = named ? [named] : [...besideLauncher.filter((path) => existsSync(path)), ...names];
  const problems: string[] = [];
  for (const candidate of candidates) {
    try {
      return koffi.load(candidate, { global: true }); // Open MPI's own plugins look for its symbols
    } catch (error) {
      problems.push((error as Error).message.split('\n')[0]!);
    }
  }
  throw new TrainingError(
    `MPI: expected the MPI library of the launcher${family === undefined ? '' : `, ${family}`}: one of ${candidates.join(', ')}. Found ` +
      `none that loads (${problems[0]}). Install it, add its folder to LD_LIBRARY_PATH, or set ${PATH_VARIABLE} to its path.`,
  );
}

const THREAD_MULTIPLE = 3;
/** The tag of messages that only say that a rank is there. */
const SIGNAL_TAG = 7;
/** The most values of one call, whose counts are 32-bit integers. */
const MOST = 2 ** 30;

function connect(koffi: Koffi, library: Library): Mpi {
  const c = hasSymbol(library, 'ompi_mpi_comm_world') ? openMpi(koffi, library) : MPICH;
  const H = c.handle;
  const define = (name: string, ...types: string[]) => library.func(name, 'int', types);
  const call = (name: string, ...types: string[]) => {
    const function_ = define(name, ...types);
    return (...args: unknown[]) => requireSuccess(name, function_(...args));
  };
  /** Runs on a thread of its own, while the arguments stay in memory, and where they are. */
  const asyncCall = (name: string, ...types: string[]) => {
    const function_ = define(name, ...types);
    return (...args: unknown[]) =>
      new Promise<void>((resolve, reject) => {
        const held = args.map((arg) => (ArrayBuffer.isView(arg) ? arg.buffer : arg)); // V8 moves small arrays until their buffer is asked for
        function_.async(...args, (error: Error | null, code: number) => {
          try {
            if (error) throw error;
            requireSuccess(name, code);
            resolve(void held.length);
          } catch (problem) {
            reject(problem);
          }
        });
      });
  };
  const integer = (read: (out: Int32Array) => void) => {
    const out = new Int32Array(1);
    read(out);
    return out[0]!;
  };
  const libraryVersion = call('MPI_Get_library_version', 'void*', 'void*');
  const initialize = call('MPI_Init_thread', 'void*', 'void*', 'int', 'void*');
  const commRank = call('MPI_Comm_rank', H, 'void*');
  const commSize = call('MPI_Comm_size', H, 'void*');
  const allGather = asyncCall('MPI_Allgather', 'void*', 'int', H, 'void*', 'int', H, H);
  const allGatherV = asyncCall('MPI_Allgatherv', 'void*', 'int', H, 'void*', 'void*', 'void*', H, H);
  const bcast = asyncCall('MPI_Bcast', 'void*', 'int', H, 'int', H);
  const allReduce = asyncCall('MPI_Allreduce', 'void*', 'void*', 'int', H, H, H);
  const reduce = asyncCall('MPI_Reduce', 'void*', 'void*', 'int', H, H, 'int', H);
  const isend = call('MPI_Isend', 'void*', 'int', H, 'int', 'int', H, 'void*');
  const iprobe = call('MPI_Iprobe', 'int', 'int', H, 'void*', 'void*');
  const receive = call('MPI_Recv', 'void*', 'int', H, 'int', 'int', H, 'void*');
  const abort = call('MPI_Abort', H, 'int');
  const finalize = call('MPI_Finalize');

  const typeOf = (values: GroupNumbers) => (values instanceof Float64Array ? c.double : c.float);

  const text = new Uint8Array(8192); // MPI_MAX_LIBRARY_VERSION_STRING is at most this
  const length = integer((out) => libraryVersion(text, out));
  const provided = integer((out) => initialize(null, null, THREAD_MULTIPLE, out));
  const rank = integer((out) => commRank(c.world, out));
  const size = integer((out) => commSize(c.world, out));
  const sent: unknown[] = []; // messages that may not have arrived yet
  const signals = {
    signalRank(to: number) {
      const [message, request] = [Int32Array.of(rank), new BigInt64Array(1)];
      sent.push(message.buffer, request.buffer);
      isend(message, 4, c.byte, to, SIGNAL_TAG, c.world, request);
    },
    nextSignal() {
      const isThere = integer((out) => iprobe(c.anySource, SIGNAL_TAG, c.world, out, c.ignoreStatus));
      if (isThere === 0) return undefined;
      return integer((out) => receive(out, 4, c.byte, c.anySource, SIGNAL_TAG, c.world, c.ignoreStatus));
    },
  };
  return {
    rank,
    size,
    version: new TextDecoder()
      .decode(text.subarray(0, length))
      .split(/[,\n\0]/)[0]!
      .replace(/\s+/g, ' ')
      .trim(),
    allGather: (own, received) => allGather(own, own.length, c.byte, received, own.length, c.byte, c.world),
    allGatherParts(own, received, counts) {
      let next = 0;
      const starts = counts.map((count) => {
        next += count;
        return next - count;
      });
      const [lengths, offsets] = [Int32Array.from(counts), Int32Array.from(starts)];
      return allGatherV(own, own.length, c.byte, received, lengths, offsets, c.byte, c.world);
    },
    broadcast: (bytes) => bcast(bytes, bytes.length, c.byte, 0, c.world),
    async sum(values) {
      const count = ArrayBuffer.isView(values) ? values.length : values.count;
      for (const [part, n] of partsOf(values, 0, count)) {
        await allReduce(c.inPlace, part, n, typeOf(values), c.sum, c.world);
      }
    },
    // One MPI_Reduce a range: MPI_Reduce_scatter would write the sums to the start of the values, and need a copy of them.
    async reduceScatter({ numbers, starts }) {
      for (let root = 0; root < size; root++) {
        for (const [part, n] of partsOf(numbers, starts[root]!, starts[root + 1]!)) {
          const [from, to] = root === rank ? [c.inPlace, part] : [part, null];
          await reduce(from, to, n, typeOf(numbers), c.sum, root, c.world);
        }
      }
    },
    async allGatherRanges({ numbers, starts }) {
      for (let root = 0; root < size; root++) {
        for (const [part, n] of partsOf(numbers, starts[root]!, starts[root + 1]!)) {
          await bcast(part, n, typeOf(numbers), root, c.world);
        }
      }
    },
    ...(provided === THREAD_MULTIPLE ? signals : {}),
    abort: (status) => abort(c.world, status),
    finalize,
  };
}

/** Values from `start` up to `end` in parts that one call takes, each as a buffer or an address, with its count. */
function* partsOf(values: GroupNumbers, start: number, end: number) {
  for (let from = start; from < end; from += MOST) {
    const n = Math.min(MOST, end - from);
    const part = ArrayBuffer.isView(values) ? values.subarray(from, from + n) : values.address + 4n * BigInt(from);
    yield [part, n] as const;
  }
}

function hasSymbol(library: Library, name: string): boolean {
  try {
    library.symbol(name);
    return true;
  } catch {
    return false;
  }
}

function requireSuccess(name: string, code: number): void {
  if (code !== 0) throw new Error(`${name} failed with code ${code}.`);
}
