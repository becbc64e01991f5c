import { fileURLToPath } from 'node:url';
import type { ActivationCheckpointing } from '@wpo/gemma';
import type { Side } from './turns';

/** This library, as it is installed. */
export const ours = (kind: string, options: object, name = 'ours'): Side => ({
  name,
  command: process.execPath,
  args: [fileURLToPath(new URL('./worker.mjs', import.meta.url)), kind, JSON.stringify(options)],
});

/** TRL, or transformers, with a Python that has it. */
export interface Peer {
  readonly python: string;
  readonly script: string;
}

/**
 * Makes glibc keep what it was given instead of handing it back: on machines where fresh memory is slow, PyTorch's
 * steps take half the time.
 */
const MEMORY_KEPT = { MALLOC_MMAP_THRESHOLD_: '8589934592', MALLOC_TRIM_THRESHOLD_: '68719476736' };

export const BEST = 'TRL at its best';
export const INSTALLED = 'TRL as installed';

export const peerSide = ({ python, script }: Peer, kind: string, options: object, name = BEST): Side => ({
  name,
  command: python,
  args: [script, kind, JSON.stringify(options)],
  ...(name === INSTALLED ? {} : { env: MEMORY_KEPT }),
});

export interface StepOptions {
  readonly model: string;
  readonly pairs: string;
  readonly checkpointing: ActivationCheckpointing;
}
