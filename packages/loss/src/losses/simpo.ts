import type { LossSettings, Term } from '../term';
import { smoothed } from './sigmoid';

/** SimPO (arXiv 2405.14734, equation 6): −log σ(β (log π(y_w) / |y_w| − log π(y_l) / |y_l|) − γ), label-smoothed as TRL does. */
export const simpo = (settings: LossSettings): Term[] => smoothed({ perToken: true }, settings, settings.simpoGamma);
