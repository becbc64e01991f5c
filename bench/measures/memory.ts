import { median } from '../numbers';
import type { MemoryAnswer } from '../ours/memory';
import { readPairs } from '../pairs';
import { row } from '../report';
import { ours } from '../sides';
import { open } from '../turns';
import type { Bench, Measured } from './measure';

/** Steps after which memory must not grow. */
const SETTLED = 50;
/** Points at which it is looked at after that. */
const POINTS = 19;
/** Points whose median counts as the beginning, and as the end: garbage comes and goes by a few per cent. */
const AVERAGED = 5;

/** Many steps, by default of a small model: what they leave in memory. */
export async function measureMemory({ small, flags, say }: Bench): Promise<Measured> {
  const model = flags.memoryModel ?? small;
  const settled = Math.min(SETTLED, Math.ceil(flags.steps / 2));
  const count = (await readPairs(model, flags.pairs)).length;
  const worker = await open(ours('memory', { model, pairs: flags.pairs, count }));
  const turns: { measure: string; steps: number; residentBytes: number }[] = [];
  try {
    for (let steps = 0; steps < flags.steps; ) {
      const next =
        steps < settled ? settled : Math.min(flags.steps, steps + Math.ceil((flags.steps - settled) / POINTS));
      say(`memory: step ${steps} of ${flags.steps}`);
      const { residentBytes } = await worker.ask<MemoryAnswer>({ steps: next - steps });
      turns.push({ measure: 'memory', steps: next, residentBytes });
      steps = next;
    }
  } finally {
    await worker.close();
  }
  const over = (some: typeof turns) => median(some.map(({ residentBytes }) => residentBytes));
  const [first, last] = [over(turns.slice(0, AVERAGED)), over(turns.slice(-AVERAGED))];
  const of = `memory, ${flags.steps} steps`;
  return {
    rows: [
      row(of, `resident after ${settled}, GB`, 'given', turns[0]!.residentBytes / 1e9),
      row(of, `growth after ${settled}, MB`, 'less', (last - first) / 1e6),
      row(of, `growth after ${settled}, %`, 'less', 100 * (last / first - 1)),
    ],
    turns,
  };
}
