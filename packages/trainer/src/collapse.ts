import type { PairResult } from './pair-loss';

// A preference loss can be satisfied by a model that is destroyed: the chosen answer becomes improbable, the rejected one even more
// so. Accuracy and margin are then perfect, and the model writes nothing. This file recognizes such a model by two numbers.

/**
 * The chosen answers may lose this number of nats per token against the start of the run: at 1, every token has become 2.7 times
 * less likely. A healthy run loses a little, since a preference loss that pushes the rejected answer down takes the chosen one along:
 * up to 0.24 in runs of the demo's model. That model repeats one word at 1.2 and writes nothing at 4.
 */
export const MAX_CHOSEN_DROP = 1;

/** The mean WPO weight may fall to this share of the one at the start. Below it, pairs have practically no gradient. */
export const MIN_WEIGHT_SHARE = 0.02;

/** The least number of pairs of one judgement: enough to average over pairs that are unusual. */
const WINDOW_PAIRS = 8;

/** Sums over pairs. Plain JSON, for checkpoints. */
export interface Health {
  readonly pairs: number;
  /** Tokens of the chosen answers. */
  readonly tokens: number;
  /** Σ of log π_ref(y_w) − log π(y_w), or of −log π(y_w) where the loss needs no reference. */
  readonly chosenDrop: number;
  /** Σ of the WPO weights, without the weights from the data. */
  readonly weight: number;
}

/** The state of the monitor, for checkpoints. */
export interface CollapseState {
  /** The first training pairs, run before any update; null before them. */
  readonly start: Health | null;
  /** The training pairs since the last judgement. */
  readonly window: Health;
  /** The held-out pairs at their first evaluation; null before it. */
  readonly heldOutStart: Health | null;
  /** What has collapsed, according to the last judgement on training pairs and on held-out pairs; null where nothing has. */
  readonly training: string | null;
  readonly heldOut: string | null;
}

const none: Health = { pairs: 0, tokens: 0, chosenDrop: 0, weight: 0 };

export const healthyStart: CollapseState = {
  start: null,
  window: none,
  heldOutStart: null,
  training: null,
  heldOut: null,
};

/** What has collapsed, in words; null for a healthy model. */
export const collapseOf = ({ training, heldOut }: CollapseState): string | null => training ?? heldOut;

const addPairs = (health: Health, results: readonly PairResult[]): Health =>
  results.reduce(
    ({ pairs, tokens, chosenDrop, weight }, pair) => ({
      pairs: pairs + 1,
      tokens: tokens + pair.chosenTokens,
      chosenDrop: chosenDrop + pair.chosenDrop,
      weight: weight + pair.wpoWeight,
    }),
    health,
  );

/** What has collapsed between two groups of pairs, in words; null for a healthy model. */
export function collapseBetween(start: Health, now: Health): string | null {
  const drop = now.chosenDrop / now.tokens - start.chosenDrop / start.tokens;
  if (drop > MAX_CHOSEN_DROP) {
    return `the log-prob of the chosen answers fell by ${drop.toFixed(1)} per token (limit ${MAX_CHOSEN_DROP})`;
  }
  const share = now.weight / now.pairs / (start.weight / start.pairs);
  if (share < MIN_WEIGHT_SHARE) {
    return `the mean WPO weight fell to ${(100 * share).toPrecision(2)} % of its first value (limit ${100 * MIN_WEIGHT_SHARE} %)`;
  }
  return null;
}

/**
 * The state after one more training step. Training pairs are judged in windows of at least `WINDOW_PAIRS` pairs, against the first
 * step of the run. Without a reference, pairs can only be compared with other pairs, so that the first window is the start then.
 *
 * @returns `judged`: whether this step completed a window.
 */
export function addTrainingPairs(
  state: CollapseState,
  results: readonly PairResult[],
  hasReference: boolean,
): { readonly state: CollapseState; readonly judged: boolean } {
  const window = addPairs(state.window, results);
  const isWhole = window.pairs >= WINDOW_PAIRS;
  if (state.start === null && (hasReference || isWhole)) {
    return { state: { ...state, start: window, window: none }, judged: false };
  }
  if (state.start === null || !isWhole) return { state: { ...state, window }, judged: false };
  return { state: { ...state, window: none, training: collapseBetween(state.start, window) }, judged: true };
}

/** The state after an evaluation, which compares the held-out pairs, if there are enough, with their first evaluation. */
export function addHeldOutPairs(state: CollapseState, results: readonly PairResult[]): CollapseState {
  const now = addPairs(none, results);
  if (now.pairs < WINDOW_PAIRS) return state;
  if (state.heldOutStart === null) return { ...state, heldOutStart: now };
  return { ...state, heldOut: collapseBetween(state.heldOutStart, now) };
}
