/**
 * What a token's log-probability is measured against, so that what the policy itself would write weighs about 1 however
 * sure the policy is: `sampled`, log Σ_v p_v², the log of a sampled token's expected probability (the paper's choice);
 * `greedy`, log max_v p_v, the likeliest token's; `none`, 0.
 */
export type Alignment = 'sampled' | 'greedy' | 'none';

/** Under which name an answer's tokens have an alignment's term. */
export const TERMS = { sampled: 'logSumSquares', greedy: 'logMax', none: undefined } as const;
