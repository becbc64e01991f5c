import type { Tensor } from '@tensorflow/tfjs-core';
import type { Pause } from './event-loop';
import { type SavedTensor, savedTensor, type Values } from './values';

/** A preference pair as token ids. */
export interface TokenPair {
  /** Names the pair in metrics and errors. */
  readonly id: string;
  /** At least one token: the prompt's last token predicts an answer's first. */
  readonly prompt: ArrayLike<number>;
  /** Answers of at least one token each. Every token counts in the loss. */
  readonly chosen: ArrayLike<number>;
  readonly rejected: ArrayLike<number>;
  /** Multiplies the pair's WPO weight. Default 1. */
  readonly weight?: number;
  /** Who wrote the answers, for a log of pairs. */
  readonly sources?: { readonly chosen: string; readonly rejected: string };
}

/** Pairs by index: an array, or an object that makes them on request. */
export type PairSource = readonly TokenPair[] | { readonly length: number; get(index: number): TokenPair };

/** The pair at `index`. @throws RangeError outside the source. */
export function pairAt(source: PairSource, index: number): TokenPair {
  const pair = 'get' in source ? source.get(index) : source[index];
  if (!pair) throw new RangeError(`pair ${index} does not exist: expected an index below ${source.length}`);
  return pair;
}

/** Tokens of a pair as the model runs it: the prompt once, and both answers. */
export const pairLength = ({ prompt, chosen, rejected }: TokenPair): number =>
  prompt.length + chosen.length + rejected.length;

/**
 * The terms of every answer token of a pass. Answers follow each other without padding: the first pair's chosen
 * answer, its rejected answer, the second pair's chosen answer, and so on. Each array is `[A]`, A the number of all answer
 * tokens.
 */
export interface TokenTerms {
  /** log p of each token. */
  readonly logps: Float32Array;
  /** log Σ_v p_v² at each token's position: the `sampled` alignment term. */
  readonly logSumSquares: Float32Array;
  /** log max_v p_v at each token's position: the `greedy` alignment term. */
  readonly logMax: Float32Array;
}

/** One forward pass. It holds its memory until `dispose`. */
export interface Forward {
  /** Reads the terms of all answer tokens from the device. */
  terms(): Promise<TokenTerms>;
  /**
   * The backward pass: adds d loss / d weight to every parameter's gradient, given d loss / d `logps` `[A]` in the order of
   * `terms`. Allowed once, and only where the pass was made with `train: true`. Where `pause` throws, the gradients are incomplete.
   */
  backward(dLogps: Float32Array): void | Promise<void>;
  /** Frees everything that the pass holds. Safe to call twice. */
  dispose(): void;
}

/** A trainable tensor and the sum of its gradients. */
export interface Parameter {
  /** The checkpoint's name, e.g. `model.layers.0.mlp.up_proj.weight`. */
  readonly name: string;
  readonly shape: readonly number[];
  /** The shape of the parameter of whose values this is a range. Absent for a whole one. */
  readonly whole?: readonly number[];
  /** Whether weight decay applies: to all parameters but norms. */
  readonly decay: boolean;
  /** The current value. The parameter owns it: read it, never dispose it. */
  value(): Values;
  /** Replaces the value by one of the same shape. The parameter takes ownership. */
  assign(value: Tensor): void;
  /** The sum of the gradients since `zeroGradient`, owned by the parameter; null where there were none. */
  gradient(): Values | null;
  /** Replaces the gradient, as an all-reduce does. The parameter takes ownership. */
  assignGradient(gradient: Tensor): void;
  zeroGradient(): void;
  /** The next call of `value` or `assign` first runs `update`, which changes the value. Absent where updates cannot wait. */
  updateLater?(update: () => void): void;
}

/**
 * A model that can be trained on pairs: the whole interface between a model and the training loop. A pair's terms must depend on that pair
 * alone, and the same pass computed twice must give the same bits: otherwise a resumed run differs from one that never stopped.
 * Random parts of a training pass, such as dropout, may depend on the pair and on `step`.
 */
export interface Policy {
  readonly parameters: readonly Parameter[];
  forward(pairs: readonly TokenPair[], options: ForwardOptions): Forward | Promise<Forward>;
  /**
   * A training pass over several packs of pairs, layer by layer: each layer runs on all packs before the next layer does. `backward` is
   * called for each pack in their order, and the last call runs the layers. Gradients are added in that order. `optimizerInBackward` needs it.
   */
  forwardPacks?(packs: readonly (readonly TokenPair[])[], options: PacksOptions): Promise<readonly Forward[]>;
}

export interface ForwardOptions {
  /** Whether `backward` will be called. */
  readonly train: boolean;
  /** The number of the step that the pass belongs to; 0 for a trial. Absent without training. */
  readonly step?: number;
  /** A policy whose passes take seconds awaits this between their parts. It may throw, which gives the pass up. */
  readonly pause?: Pause;
  /** A policy that runs layer by layer awaits this with a layer's parameters before it reads their values, in each direction. */
  readonly acquire?: (parameters: readonly Parameter[]) => void | Promise<void>;
  /** Called with the same parameters once their values are not read until the next `acquire`. */
  readonly release?: (parameters: readonly Parameter[]) => void;
}

export interface PacksOptions extends ForwardOptions {
  /**
   * Awaited in the backward pass with some of the parameters, once their gradients are complete; with each parameter that has a gradient
   * once. It may change the parameters, and free the gradients.
   */
  readonly gradientsReady?: (parameters: readonly Parameter[]) => void | Promise<void>;
}

/** log π_ref of a pair's answers: the sums over their tokens. */
export interface ReferenceLogps {
  readonly chosen: number;
  readonly rejected: number;
  /** LD-DPO's α that the sums were taken with. Absent: every token counts in full. */
  readonly ldAlpha?: number;
}

/** A policy's weights under their checkpoint names. */
export function* weightsOf(policy: Policy): Generator<SavedTensor> {
  for (const parameter of policy.parameters) yield savedTensor(parameter.name, parameter.value());
}

export function zeroGradients(parameters: readonly Parameter[]): void {
  for (const parameter of parameters) parameter.zeroGradient();
}
