import { firstOverflow, gradientNorm } from './gradient-norm';
import { type Parameter, zeroGradients } from './policy';

/**
 * Memory for the gradients of a step from the backward pass until the update, outside of the device that computes. The micro-batches of the
 * step run layer by layer, and the gradients of each block go there once they are complete.
 */
export interface GradientOffload {
  /** Begins to copy gradients that are complete. They may be zeroed at once. */
  add(parameters: readonly Parameter[]): Promise<void>;
  /** The L2 norm of the gradients of this step: the same bits as for gradients on the device. */
  norm(parameters: readonly Parameter[]): number;
  /** The parameters with the gradients of this step, until `clear`. Only the kernel of an optimizer reads these gradients. */
  offloaded(parameters: readonly Parameter[]): readonly Parameter[];
  /** Forgets the gradients, also those that are being copied. Their memory is kept for the next step. */
  clear(): void;
  dispose(): void;
}

/** Moves gradients that are complete out of the device. For a pass's `gradientsReady`. @param reduce sums them over ranks before */
export const moveGradients =
  (offload: GradientOffload, reduce?: (parameters: readonly Parameter[]) => Promise<void>) =>
  async (ready: readonly Parameter[]): Promise<void> => {
    await reduce?.(ready);
    await offload.add(ready);
    zeroGradients(ready);
  };

/** Frees gradients that are complete, and says whether they were finite. Its `gradientsReady` is for a pass. */
export function checkGradients() {
  let squares = 0;
  let name: string | undefined;
  return {
    async gradientsReady(ready: readonly Parameter[]): Promise<void> {
      const norm = await gradientNorm(ready);
      squares += norm ** 2;
      if (!Number.isFinite(norm)) name = await firstOverflow(ready); // the last blocks come first
      zeroGradients(ready);
    },
    /** The norm of all gradients, and the first parameter whose gradient has no finite norm. */
    result: () => ({ norm: Math.sqrt(squares), name }),
  };
}
