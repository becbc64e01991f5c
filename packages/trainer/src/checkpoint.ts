import type { Interval } from './metrics';
import type { NamedTensor } from './optimizer';
import type { Cursor } from './plan';

/** A value that JSON can hold. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** All that a run is, beside its weights and its optimizer's tensors; plain JSON. */
export interface TrainerState {
  readonly version: 1;
  /** Optimizer steps done. */
  readonly step: number;
  readonly cursor: Cursor;
  /** Tokens seen. */
  readonly tokens: number;
  /** Metrics rows written, and the sums that the next one will be made of. */
  readonly rows: number;
  readonly interval: Interval;
  readonly optimizerStep: number;
  /** An evaluation was due at this step and has not been written. */
  readonly evaluationDue: boolean;
  /** What `RandomState.state` gave; null where there is none. */
  readonly random: Json;
  /** What a run must have in common with this one to go on from it. */
  readonly run: { readonly [key: string]: Json };
}

export interface Checkpoint {
  readonly state: TrainerState;
  /** Still their owners': not to be disposed, and good until `save` returns. */
  readonly weights: Iterable<NamedTensor>;
  readonly optimizer: Iterable<NamedTensor>;
}

export interface StoredCheckpoint {
  /** Names it in warnings and errors. */
  readonly name: string;
  /** @throws where it is damaged. */
  open(): Promise<OpenCheckpoint>;
}

export interface OpenCheckpoint {
  readonly state: TrainerState;
  /** Each tensor is the caller's. */
  weights(): AsyncIterable<NamedTensor>;
  optimizer(): AsyncIterable<NamedTensor>;
}

/** Where checkpoints are kept. */
export interface CheckpointStore {
  /** Keeps a checkpoint whole or not at all. */
  save(checkpoint: Checkpoint): Promise<void>;
  /** Those that are there, newest first. */
  list(): Promise<readonly StoredCheckpoint[]>;
}
