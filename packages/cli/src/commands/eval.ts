import { UserError } from '../errors';
import { type AnnotationsArguments, evalAnnotations } from '../evaluation/annotations';
import { evalOutputs, type OutputsArguments } from '../evaluation/judged';
import { evalPairs, type HeldOutArguments } from '../evaluation/pairs';
import type { Terminal } from '../terminal';

/** What is given says what is measured: `annotations`; `pairs` and `model`; or `baseline`, `judge` and `out`. */
export type EvalArguments = AnnotationsArguments | HeldOutArguments | OutputsArguments;

type AnyArguments = Partial<AnnotationsArguments & HeldOutArguments & OutputsArguments>;

/** What each way of measuring needs beside the flag that chooses it. */
const NEEDED = {
  annotations: [],
  pairs: ['model'],
  baseline: ['judge', 'out'],
} as const satisfies Readonly<Record<string, readonly (keyof AnyArguments)[]>>;

/** `wpo eval`: win rates of annotations or of a model against a baseline, or rewards of held-out pairs. Returns the exit status. */
export async function evaluate(given: EvalArguments, terminal: Terminal = process): Promise<number> {
  const kind = kindOfEvaluation(given);
  if (kind === 'annotations') return evalAnnotations(given as AnnotationsArguments, terminal);
  return kind === 'pairs'
    ? evalPairs(given as HeldOutArguments, terminal)
    : evalOutputs(given as OutputsArguments, terminal);
}

/** What is measured. @throws {UserError} where options do not go together */
export function kindOfEvaluation(given: EvalArguments): keyof typeof NEEDED {
  const all = given as AnyArguments;
  const kinds = (Object.keys(NEEDED) as (keyof typeof NEEDED)[]).filter((name) => all[name] !== undefined);
  const [kind] = kinds;
  if (kind === undefined || kinds.length > 1) {
    throw new UserError(
      `found ${kinds.map((name) => `--${name}`).join(' and ') || 'none of them'}, wanted one of --annotations FILE, ` +
        '--pairs FILE and --baseline FILE.',
    );
  }
  const missing = NEEDED[kind].filter((name) => all[name] === undefined);
  if (missing.length > 0) {
    throw new UserError(`--${kind} also needs ${missing.map((name) => `--${name}`).join(' and ')}.`);
  }
  return kind;
}
