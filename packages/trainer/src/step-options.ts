import type { StopSignal } from './event-loop';
import type { GradientOffload } from './gradient-offload';
import type { Group } from './group';
import type { MicroBatch } from './micro-batch';
import type { Optimizer } from './optimizer';
import type { PairLoss } from './pair-loss';
import type { Parameter, Policy } from './policy';
import type { Sharding } from './sharding';

export interface StepOptions {
  readonly policy: Policy;
  readonly optimizer: Optimizer;
  readonly loss: PairLoss;
  /**
   * The pairs of this step, split as memory allows. The split changes only rounding, unless the loss ranks pairs (`needsBatch`):
   * it ranks them within a micro-batch.
   */
  readonly microBatches: readonly MicroBatch[];
  readonly learningRate: number;
  /** Clips the global gradient norm. 0 and Infinity do not clip. */
  readonly maxGradNorm: number;
  /**
   * Updates parameters as soon as the backward pass has their gradients, and frees these: the gradients of one block of the model are held
   * instead of all. The update is the same, up to the order in which gradients of an embedding are added. Needs `maxGradNorm` 0, and
   * a policy with `forwardPacks`. Default false.
   */
  readonly optimizerInBackward?: boolean;
  /**
   * Moves the gradients of each block there once the backward pass has them, so that the device holds those of a few blocks. The update is
   * the same, up to the order in which gradients of an embedding are added. Needs a policy with `forwardPacks` and an optimizer that
   * reads its memory. Not with `optimizerInBackward`, which keeps no gradients. Default: they stay where the parameters are.
   */
  readonly offloadGradients?: GradientOffload;
  /** The number of this step in the run, counted from 1, for errors and for dropout, which differs between steps. */
  readonly step?: number;
  /**
   * The processes of the run, which all have the same parameters and options. They divide the micro-batches among them, and sum their
   * gradients before the update. Default: this process alone.
   */
  readonly group?: Group;
  /**
   * What the processes of `group` divide among them. With `zero1` each updates one range of every parameter's values, and only the state for
   * this range exists. Not with `optimizerInBackward`, `offloadGradients`, Adafactor, or values that are rounded at random. Default none.
   */
  readonly sharding?: Sharding;
  /** Replaces `gradientNorm`, for a backend that computes it faster. */
  readonly computeNorm?: (parameters: readonly Parameter[]) => Promise<number>;
  /** Once aborted, the step is given up between two layers or micro-batches, and has changed nothing. */
  readonly signal?: StopSignal;
}
