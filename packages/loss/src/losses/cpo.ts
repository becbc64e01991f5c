import type { LossSettings, Term } from '../term';
import { sft } from './sft';
import { smoothed } from './sigmoid';

/** CPO (arXiv 2401.08417, equation 3 and the NLL beside it): −log σ(β (log π(y_w) − log π(y_l))) + α NLL, the NLL per token as TRL and the authors' code do. */
export const cpo = (settings: LossSettings): Term[] => [
  ...smoothed({}, settings),
  ...sft().map((nll) => ({ ...nll, coefficient: settings.cpoAlpha })),
];
