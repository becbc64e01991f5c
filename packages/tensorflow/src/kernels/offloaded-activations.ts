import type { ActivationOffload, OffloadedValue, Value } from '@wpo/gemma';
import { program } from './program';
import { StoredVariable } from './store';

type Memory = StoredVariable<'float32'>;

/**
 * Returns memory for the inputs of recomputed layers on the CPU, while a GPU computes. An input is copied out while the next layer runs in
 * the forward pass, and back while the layer after it runs in the backward pass. The memory is pinned, and kept from pass to pass, as are
 * the two inputs on the GPU. It needs native operations on a GPU.
 */
export function offloadedActivations(): ActivationOffload {
  /** Pinned memory that holds no value now. */
  const free: Memory[] = [];
  /** On the GPU: of the value that is used, and of the next. */
  const buffers: (Memory | undefined)[] = [undefined, undefined];
  let turn = 0;
  /** Values that are being copied out. */
  let copying: Value[] = [];
  /** What runs later may get their memory. */
  const waitForCopies = () => {
    for (const value of copying) {
      program.recordInPlace('WpoWaitForCopies', [value]);
      value.dispose();
    }
    copying = [];
  };

  /** Pinned memory for `count` values or more. Where all that is free is too small, new memory takes the place of the smallest. */
  const pinnedFor = (count: number): Memory => {
    free.sort((a, b) => capacityOf(a) - capacityOf(b));
    const fits = free.findIndex((one) => capacityOf(one) >= count);
    if (fits >= 0) return free.splice(fits, 1)[0]!;
    disposeNow(free.splice(0, 1));
    return StoredVariable.pinnedZeros([count], 'float32', program);
  };
  const bufferFor = (count: number): Memory => {
    turn = 1 - turn;
    const known = buffers[turn];
    if (known && capacityOf(known) >= count) return known;
    if (known) disposeNow([known]);
    const made = StoredVariable.zeros([count], 'float32', program);
    buffers[turn] = made;
    return made;
  };

  return {
    move(value): OffloadedValue {
      const { shape } = value;
      const count = sizeOf(shape);
      const pinned = pinnedFor(count);
      waitForCopies(); // of the value before, which ran beside the layer that has just run
      const out = pinned.part(0, count, shape);
      program.recordInPlace('WpoCopyToPinned', [out, value]);
      copying.push(value);
      program.run(); // begins the copy
      let onDevice: Memory | undefined;
      let isOpen = true;
      const prefetch = () => {
        if (onDevice) return;
        waitForCopies();
        onDevice = bufferFor(count).part(0, count, shape);
        program.recordInPlace('WpoCopyFromPinned', [onDevice, out]);
        program.run();
      };
      return {
        prefetch,
        fetch() {
          prefetch();
          program.recordInPlace('WpoWaitForCopies', [onDevice!]);
          return onDevice!.clone();
        },
        dispose() {
          if (!isOpen) return;
          isOpen = false;
          waitForCopies();
          // where a pass was given up, nothing has waited for the copy
          if (onDevice) program.recordInPlace('WpoWaitForCopies', [onDevice]);
          onDevice?.dispose();
          out.dispose();
          free.push(pinned);
        },
      };
    },
    dispose() {
      waitForCopies();
      disposeNow(free.splice(0));
      disposeNow(buffers.splice(0).flatMap((one) => one ?? []));
    },
  };
}

const sizeOf = (shape: readonly number[]) => shape.reduce((size, n) => size * n, 1);
const capacityOf = ({ shape }: Memory) => sizeOf(shape);

/** Frees memory that no operation uses that has not run. */
function disposeNow(memory: readonly Memory[]): void {
  if (memory.length === 0) return;
  program.run();
  for (const one of memory) one.dispose();
}
