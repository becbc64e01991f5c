import { UserError } from '../errors';
import type { Backend } from '../models';

/** The memory of a machine in bytes, what this process holds already included. */
export interface MachineMemory {
  readonly host: Place;
  /** The GPU that computes; undefined if the CPU does. */
  readonly device?: Place | undefined;
}

interface Place {
  readonly bytes: number;
  /** Whose memory it is, e.g. `of this machine`. */
  readonly whose: string;
  /** Whether it is address space, which mapped files take too. */
  readonly isAddressSpace?: boolean;
}

/**
 * The memory that a training run may use.
 *
 * @param given sizes in bytes that replace those of this machine
 * @returns undefined if TensorFlow uses a GPU whose memory is not known
 */
export function machineMemory(
  { availableMemory, hostMemory }: Pick<Backend, 'availableMemory' | 'hostMemory'>,
  given: { readonly deviceMemory?: number | undefined; readonly hostMemory?: number | undefined } = {},
): MachineMemory | undefined {
  const onHost = hostMemory();
  const host =
    given.hostMemory === undefined
      ? {
          bytes: onHost.bytes + process.memoryUsage.rss(),
          whose: WHOSE[onHost.limit],
          isAddressSpace: onHost.limit === 'ulimit -v',
        }
      : { bytes: given.hostMemory, whose: '--host-memory' };
  if (given.deviceMemory !== undefined)
    return { host, device: { bytes: given.deviceMemory, whose: '--device-memory' } };
  const found = availableMemory();
  if (found === undefined) return undefined;
  return found.limit === 'GPU' ? { host, device: { bytes: found.bytes, whose: WHOSE.GPU } } : { host };
}

/** As `machineMemory`. @throws {UserError} if TensorFlow uses a GPU whose memory is not known */
export function plannedMachine(...of: Parameters<typeof machineMemory>): MachineMemory {
  const machine = machineMemory(...of);
  if (machine !== undefined) return machine;
  throw new UserError(
    'expected the memory of the GPU, found that nvidia-smi reports none. Give its size: --device-memory 80GB.',
  );
}

const WHOSE = {
  GPU: 'of the GPU',
  machine: 'of this machine',
  container: 'under the memory limit of this container',
  'ulimit -v': 'under `ulimit -v`',
  'ulimit -d': 'under `ulimit -d`',
} as const;
