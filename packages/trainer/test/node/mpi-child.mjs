// node mpi-child.mjs TASK: a rank of a job. Uses the built package.
import { setTimeout as sleep } from 'node:timers/promises';
import koffi from 'koffi';
import { TrainingError } from '../../dist/index.js';
import { mpiGroup } from '../../dist/node.js';

/** The first bytes of the code of functions that allocate and free memory. */
function memoryCode() {
  const names = ['brk', 'sbrk', 'mmap', 'munmap', 'mremap', 'madvise', 'shmat', 'shmdt'];
  const libc = koffi.load('libc.so.6');
  return JSON.stringify(names.map((name) => [name, koffi.decode(libc.symbol(name), 'uint8_t', 16)]));
}

const codeBefore = memoryCode();
const group = await mpiGroup();
if (group === undefined) throw new Error('expected to be started by mpirun');
const { rank, size } = group;
const say = (value) => process.stdout.write(`${rank}: ${JSON.stringify(value)}\n`);

const TASKS = {
  async collectives() {
    const many = new Float32Array(1 << 20).map((_, i) => (rank + 1) * (i % 1000));
    const few = Float64Array.of(rank, 1e300, 2 ** -60);
    await group.allReduce([many, few, new Float32Array(0)], 'sums');
    const sum = (size * (size + 1)) / 2;
    say({
      size,
      version: group.version,
      isRight: many.every((x, i) => x === sum * (i % 1000)),
      few: [...few],
      gathered: await group.allGather({ rank, text: 'ü'.repeat(rank) }, 'texts'),
      first: await group.broadcast(rank === 0 ? { of: [1, null, 'ä'] } : undefined, 'a value'),
      agreed: [await group.agree(rank === 1, 'flag'), await group.agree(false, 'flag')],
      hosts: new Set(group.ranks.map(({ host }) => host)).size,
    });
  },
  /** Sums of the own range, in an array and in memory outside of JavaScript; then all ranges from the ranks that have them. */
  async ranges() {
    const count = 1 << 20;
    const starts = [0, 5, ...Array.from({ length: size - 2 }, () => 5 + (count >> 1)), count];
    const outside = koffi.alloc('float', count);
    const memory = new Float32Array(koffi.view(outside, 4 * count));
    const filled = (to) => to.map((_, i) => (rank + 1) * (i % 1000));
    memory.set(filled(memory));
    const values = [
      { numbers: filled(new Float32Array(count)), starts },
      { numbers: { address: koffi.address(outside), count }, starts },
      {
        numbers: Float64Array.from(starts, () => 2 ** -60),
        starts: [...starts.keys()].map((i) => (i < size ? i : size + 1)),
      },
    ];
    await group.reduceScatter(values, 'sums of ranges');
    const sum = (size * (size + 1)) / 2;
    const isSum = (x, i) => x === sum * ((i + starts[rank]) % 1000);
    const arrays = [values[0].numbers, memory];
    const isOwnRight = arrays.map((all) => all.slice(starts[rank], starts[rank + 1]).every(isSum));
    await group.allGatherRanges(values, 'ranges');
    const isRight = arrays.map((all) => all.every((x, i) => x === sum * (i % 1000)));
    say({ isOwnRight, isRight, few: [...values[2].numbers] });
  },
  /** Rank 1 fails while the others are in a collective; all continue afterwards. */
  async failure() {
    const work = async () => {
      if (rank === 1) throw new TrainingError('step 3: pair "a": bad', { step: 3, pairId: 'a' });
      await group.allReduce([new Float32Array(10)], 'gradients');
    };
    const error = await work().catch((error) => group.fail(error));
    const again = await group.fail(error); // another level of the program
    const { name, message, step, pairId } = error;
    say({ name, message, step, pairId, isSame: again === error, after: await group.allGather(rank, 'numbers') });
  },
  async mismatch() {
    const error = await (rank === 0 ? group.agree(true, 'a flag') : group.broadcast(1, 'a number')).catch(
      (error) => error,
    );
    say(error.message);
  },
  /** Rank 1 is asked to stop; all see it in the same collective. */
  async stop() {
    const own = new AbortController();
    const signal = group.shareSignal(own.signal);
    const seen = [];
    for (let i = 0; i < 4; i++) {
      if (rank === 1 && i === 2) own.abort(new Error('stopped by SIGTERM'));
      seen.push(signal.aborted);
      await group.allReduce([new Float32Array(1)], 'numbers');
    }
    say({ seen, reason: signal.reason.message });
  },
  /** Rank 1 never comes. */
  async hang() {
    group.timeoutSeconds = 1;
    await group.agree(false, 'results of step 11');
    if (rank === 1) for (;;);
    await group.allReduce([new Float32Array(10)], 'gradients of step 12');
  },
  async memoryCode() {
    say(memoryCode() === codeBefore);
  },
  /** Waits, to be killed. */
  async wait() {
    say(process.pid);
    await (rank === 0 ? group.agree(false, 'nothing') : sleep(60_000));
  },
};

await TASKS[process.argv[2]]();
await group.close();
