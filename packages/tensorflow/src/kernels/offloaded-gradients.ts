import type { GradientOffload, Parameter, Values } from '@wpo/trainer';
import { normOf, squareSums } from './optimizer';
import { program } from './program';
import { StoredVariable } from './store';

/**
 * Returns memory for the gradients of a step on the CPU, while a GPU computes. The gradients of a block of the model are copied while the
 * backward pass computes those of the block before it, so the GPU holds those of two blocks. The memory is pinned, and kept from step to
 * step. `offloadedOptimizer` reads it. It needs native operations on a GPU.
 */
export function offloadedGradients(): GradientOffload {
  const pinned = new Map<string, StoredVariable<'float32'>>(); // by the names of their parameters
  const squares = new Map<string, number>(); // of the gradients of this step
  let copying: StoredVariable[] = [];
  /** What runs later may overwrite the gradients that were copied. */
  const waitForCopies = () => {
    for (const gradient of copying) {
      program.recordInPlace('WpoWaitForCopies', [gradient]);
      gradient.dispose();
    }
    copying = [];
  };
  const memoryOf = ({ name, shape }: Parameter) => {
    const memory = pinned.get(name) ?? StoredVariable.pinnedZeros(shape, 'float32', program);
    pinned.set(name, memory);
    return memory;
  };
  return {
    async add(parameters) {
      const given = parameters.flatMap((parameter) => {
        const gradient = parameter.gradient();
        return gradient ? [{ parameter, gradient: storedOf(gradient) }] : [];
      });
      const sums = await squareSums(given.map(({ gradient }) => gradient));
      waitForCopies(); // of the block before, which ran beside the passes of this one
      for (const [i, { parameter, gradient }] of given.entries()) {
        program.recordInPlace('WpoCopyToPinned', [memoryOf(parameter), gradient]);
        copying.push(gradient.clone());
        squares.set(parameter.name, sums[i]!);
      }
      program.run(); // begins the copies
    },
    norm: (parameters) => normOf(parameters.map(({ name }) => squares.get(name) ?? 0)),
    offloaded(parameters) {
      waitForCopies();
      return parameters.map((parameter) => ({
        ...parameter,
        gradient: () => (squares.has(parameter.name) ? pinned.get(parameter.name)! : null),
      }));
    },
    clear() {
      waitForCopies();
      squares.clear();
    },
    dispose() {
      this.clear();
      program.run();
      for (const memory of pinned.values()) memory.dispose();
      pinned.clear();
    },
  };
}

function storedOf(gradient: Values): StoredVariable {
  if (gradient instanceof StoredVariable) return gradient;
  throw new Error('Expected the gradients of a model on the native kernels, found others.');
}
