import { type AnnotationsArguments, evalAnnotations } from '../evaluation/annotations';
import { evalOutputs, type OutputsArguments } from '../evaluation/judged';
import { evalPairs, type HeldOutArguments } from '../evaluation/pairs';
import { type EvalConfig, evalSchema } from '../schemas/eval';
import { checkFlags } from '../schemas/flags';
import type { Terminal } from '../terminal';

/**
 * `wpo eval`: win rates from annotations, win rates of a model against a baseline, or rewards of held-out pairs, whichever
 * of `annotations`, `baseline` and `pairs` is given.
 *
 * @returns the exit status
 */
export async function evaluate(config: EvalConfig, terminal: Terminal = process): Promise<number> {
  checkFlags(evalSchema, config); // so the fields that a kind of evaluation needs are there
  if (config.annotations !== undefined) return evalAnnotations(config as AnnotationsArguments, terminal);
  if (config.pairs !== undefined) return evalPairs(config as HeldOutArguments, terminal);
  return evalOutputs(config as OutputsArguments, terminal);
}
