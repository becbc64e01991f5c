import type { Tensor, Tensor1D } from '@tensorflow/tfjs-core';

/** A preference pair as token ids: what a policy runs and the loop counts. */
export interface TokenPair {
  /** Names the pair in metrics and errors. */
  readonly id: string;
  /** At least one token: an answer's first token is predicted from the prompt's last. */
  readonly prompt: ArrayLike<number>;
  /** Answers: at least one token each, all of which count in the loss. */
  readonly chosen: ArrayLike<number>;
  readonly rejected: ArrayLike<number>;
  /** Multiplies the pair's WPO weight; 1 where absent. */
  readonly weight?: number;
}

/** What a policy says of one answer, token by token; each `[tokens of the answer]`, float32. */
export interface AnswerTerms {
  /** log p of each token. */
  readonly logps: Tensor1D;
  /** log Σ_v p_v² at each token's position: the `sampled` alignment term. */
  readonly logSumSquares: Tensor1D;
  /** log max_v p_v at each token's position: the `greedy` alignment term. */
  readonly logMax: Tensor1D;
}

export interface PairTerms {
  readonly chosen: AnswerTerms;
  readonly rejected: AnswerTerms;
}

/** The gradient of a loss with respect to both answers' per-token log-probs; each `[tokens of the answer]`. */
export interface PairGradient {
  readonly chosen: Tensor1D;
  readonly rejected: Tensor1D;
}

/** One forward pass, held until `dispose`. */
export interface Forward {
  /** One entry a pair, in the order given; owned by this pass and good until its `dispose`. */
  readonly pairs: readonly PairTerms[];
  /**
   * Adds d loss / d weight to every parameter's gradient, given d loss / d logps (not disposed here). Once a pass, and
   * only where the pass was made with `train: true`.
   */
  backward(gradients: readonly PairGradient[]): void;
  /** Frees all that the pass holds; safe to call twice. */
  dispose(): void;
}

/** One trainable tensor and the sum of its gradients. */
export interface Parameter {
  /** The checkpoint's name, e.g. `model.layers.0.mlp.up_proj.weight`. */
  readonly name: string;
  readonly shape: readonly number[];
  /** Whether weight decay applies: all but norms. */
  readonly decay: boolean;
  /** The current value, owned by the parameter: read it, never dispose it. */
  value(): Tensor;
  /** Replaces the value; the parameter takes ownership of `value` (same shape). */
  assign(value: Tensor): void;
  /** Sum of the gradients since `zeroGradient`, owned by the parameter; null where there was none. */
  gradient(): Tensor | null;
  /** Replaces the gradient's sum (an exchange between processes does); takes ownership. */
  assignGradient(gradient: Tensor): void;
  zeroGradient(): void;
}

/**
 * A model that can be trained on pairs: the loop asks nothing more of it. A pair's terms must depend on that pair alone,
 * and a pass computed twice must give the same, or a resumed run cannot equal one that never stopped.
 */
export interface Policy {
  readonly parameters: readonly Parameter[];
  forward(pairs: readonly TokenPair[], options: { readonly train: boolean }): Forward;
}
