import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { residentBytes } from '../process-memory';
import { openStep } from './step';

export interface MemoryAnswer {
  readonly residentBytes: number;
}

/**
 * Garbage is collected before memory is looked at: Node lets 25 MB more of it lie before it does so by itself. Four times, with
 * rests, since it hands pages back only from one collection to the next.
 */
async function collectGarbage(): Promise<void> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  for (let time = 0; time < 4; time++) {
    collect();
    await sleep(50);
  }
}

/** Many steps, pair after pair. */
export async function openMemory(options: { readonly model: string; readonly pairs: string; readonly count: number }) {
  const takeStep = await openStep({ ...options, checkpointing: 'auto' });
  let done = 0;
  return async ({ steps }: { steps: number }) => {
    for (let i = 0; i < steps; i++) await takeStep({ pair: done++ % options.count, products: false });
    return async (): Promise<MemoryAnswer> => {
      await collectGarbage();
      return { residentBytes: residentBytes() };
    };
  };
}
