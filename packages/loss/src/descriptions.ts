import type { LossType } from './loss-table';
import type { LossOptions } from './options';

// One line of help for each loss and option, for a program that generates its help and documentation from them. They have
// a file of their own, so that bundles of other programs do not contain them.

/** Each loss's name, equation and source. r = β (log π − log π_ref), u = r_w − r_l, and nll = −log π(y_w) / |y_w|. */
export const LOSS_DESCRIPTIONS: Readonly<Record<LossType, string>> = {
  dpo: 'DPO, the same as sigmoid (arXiv 2305.18290)',
  sigmoid: 'DPO: −(1−ε) log σ(u) − ε log σ(−u) (arXiv 2305.18290, eq. 7)',
  hinge: 'SLiC-HF and RSO: max(0, 1 − u) (arXiv 2305.10425; 2309.06657)',
  ipo: 'IPO: (ρ_w/|y_w| − ρ_l/|y_l| − 1/(2β))², ρ = r/β (arXiv 2310.12036, eq. 17)',
  exo_pair: 'EXO: KL of (σ(u), σ(−u)) from (1−ε, ε) (arXiv 2402.00856, eq. 16)',
  nca_pair: 'NCA: −log σ(r_w) − ½ log σ(−r_w) − ½ log σ(−r_l) (arXiv 2402.05369)',
  robust: 'Robust DPO: (−(1−ε) log σ(u) + ε log σ(−u)) / (1 − 2ε) (arXiv 2403.00409)',
  bco_pair: 'BCO: −log σ(r_w − δ) − log σ(δ − r_l) (arXiv 2404.04656)',
  sppo_hard: 'SPPO: (ρ_w − 1/(2β))² + (ρ_l + 1/(2β))², ρ = r/β (arXiv 2405.00675, eq. 4.7)',
  aot: 'AOT: DPO of policy and reference margins matched by rank in the batch (arXiv 2406.05882)',
  aot_unpaired: 'AOT: DPO of chosen and rejected log-ratios matched by rank in the batch (arXiv 2406.05882)',
  apo_zero: 'APO-zero: (1 − σ(r_w)) + σ(r_l) (arXiv 2408.06266, eq. 7)',
  apo_down: 'APO-down: σ(r_w) + (1 − σ(u)) (arXiv 2408.06266, eq. 8)',
  discopop: 'DiscoPOP: (1−m) (−log σ(u)) + m e^−u, m = σ(u/τ) (arXiv 2406.08414, eq. 5)',
  sft: 'NLL of the chosen answer per token: nll (arXiv 2411.10442; 2404.19733)',
  sigmoid_norm: 'DPO with each log-ratio divided by its answer’s length (arXiv 2411.15124)',
  simpo: 'SimPO: −log σ(β (log π(y_w)/|y_w| − log π(y_l)/|y_l|) − γ) (arXiv 2405.14734, eq. 6)',
  orpo: 'ORPO: nll − β log σ(log odds_w − log odds_l) (arXiv 2403.07691)',
  cpo: 'CPO: −log σ(β (log π(y_w) − log π(y_l))) + α nll (arXiv 2401.08417, eq. 3)',
  kto: 'KTO: λ_D (1 − σ(r_w − βz₀)) + λ_U (1 − σ(βz₀ − r_l)) (arXiv 2402.01306, eq. 7)',
};

/** What each option of a loss means. */
export const OPTION_DESCRIPTIONS: Readonly<Record<keyof LossOptions, string>> = {
  beta: 'β: how strongly the loss keeps the policy near its reference',
  labelSmoothing: 'ε: the share of pairs whose labels are assumed to be flipped',
  fDivergenceType: 'the divergence that keeps the policy near its reference',
  fAlphaDivergenceCoef: 'α of alpha_divergence: 1 is the reverse KL, 0 the forward KL',
  discopopTau: 'τ of discopop',
  simpoGamma: 'γ of simpo: the target reward margin',
  cpoAlpha: 'α of cpo: the weight of its NLL term',
  desirableWeight: 'λ_D of kto: the weight of chosen answers',
  undesirableWeight: 'λ_U of kto: the weight of rejected answers',
  bcoDelta: 'δ of bco_pair: its reward shift',
  refFree: 'take the reference’s log-probs as 0, so that no reference is needed',
};
