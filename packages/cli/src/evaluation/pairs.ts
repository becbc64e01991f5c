import type { EncodedPair } from '@wpo/data';
import { type KlMetrics, klMetrics, type RewardMetrics, rewardMetrics } from '@wpo/eval';
import { type Policy, precomputeReference, type TokenPair } from '@wpo/trainer';
import { type Backend, loadBackend } from '../backend';
import { loadModel } from '../model';
import { pairReader } from '../pairs';
import { withProgress } from '../progress';
import type { Terminal } from '../terminal';
import { drawPairs, tokenLogps } from './draw-pairs';
import { rows } from './report';

export interface HeldOutArguments {
  /** File of preference pairs. */
  readonly pairs: string;
  /** Folder of the model. */
  readonly model: string;
  /** Folder of the reference; without it, rewards are log-probs and there is no KL. */
  readonly ref?: string;
  readonly beta: number;
  /** Prompts to which the model draws two answers each, for the KL. 0: no KL. */
  readonly klPrompts: number;
  /** Most tokens of such an answer. */
  readonly maxNewTokens: number;
  readonly seed: number;
  readonly completion: 'paper' | 'trl' | 'turn';
  readonly truncation: 'paper' | 'keep_start';
  readonly maxLength: number;
  readonly maxPromptLength: number;
  readonly onBadRow: 'error' | 'skip';
  readonly json?: boolean;
}

/** Prints the implicit rewards of held-out pairs, and how far the model has gone from its reference. */
export async function evalPairs(given: HeldOutArguments, terminal: Terminal): Promise<number> {
  const { ref, beta } = given;
  const read = await pairReader(given.model, terminal, given);
  const { pairs } = await read(given.pairs);
  const backend = await loadBackend();
  const { drawn, ...policy } = await runModel(pairs, given, backend, terminal);
  const reference = ref === undefined ? undefined : await runReference(ref, pairs, drawn, backend, terminal);
  const metrics = {
    ...rewardMetrics({ pairs, policy: policy.held, reference: reference?.held }, beta),
    ...(reference && drawn.length > 0 && klMetrics({ policy: policy.drawnLogps, reference: reference.drawnLogps })),
  };
  terminal.stdout.write(`${given.json ? JSON.stringify(metrics, null, 2) : formatHeldOut(metrics, given)}\n`);
  return 0;
}

/** What needs the model, which is freed before its reference is loaded. */
async function runModel(pairs: readonly EncodedPair[], given: HeldOutArguments, backend: Backend, terminal: Terminal) {
  const { policy, stopIds, dispose } = await loadModel(given.model, backend);
  const held = await logpsBy(policy, pairs, 'model', terminal);
  const prompts = given.ref === undefined ? [] : pairs.slice(0, given.klPrompts);
  const drawn = await withProgress(terminal, { label: 'draw', total: prompts.length }, (shown) =>
    drawPairs(policy, prompts, backend, { ...given, stopIds }, shown.update),
  );
  const drawnLogps = await tokenLogps(policy, drawn);
  dispose();
  return { held, drawn, drawnLogps };
}

async function runReference(
  folder: string,
  pairs: readonly TokenPair[],
  drawn: readonly TokenPair[],
  backend: Backend,
  terminal: Terminal,
) {
  const { policy, dispose } = await loadModel(folder, backend);
  const held = await logpsBy(policy, pairs, 'reference', terminal);
  const drawnLogps = await tokenLogps(policy, drawn);
  dispose();
  return { held, drawnLogps };
}

const logpsBy = (policy: Policy, pairs: readonly TokenPair[], label: string, terminal: Terminal) =>
  withProgress(terminal, { label, total: pairs.length }, (shown) =>
    precomputeReference({ policy, pairs, onProgress: (done) => shown.update(done) }),
  );

function formatHeldOut(metrics: RewardMetrics & Partial<KlMetrics>, { ref, beta }: HeldOutArguments): string {
  const shown = (value: number) => value.toFixed(4);
  const { kl, kl_standard_error, kl_per_token, n_kl_answers } = metrics;
  const ratios = [metrics['log_ratio_per_token/chosen'], metrics['log_ratio_per_token/rejected']];
  return rows([
    ['held-out pairs', String(metrics.n_pairs)],
    ['reward', `${beta} ${ref === undefined ? 'log π' : '(log π − log π_ref)'}`],
    ['reward accuracy', `${shown(metrics['rewards/accuracies'])}  (a tie counts as wrong)`],
    [
      'reward margin',
      `${shown(metrics['rewards/margins'])}  (chosen ${shown(metrics['rewards/chosen'])}, rejected ${shown(metrics['rewards/rejected'])})`,
    ],
    ...(ratios[0] === undefined
      ? []
      : [
          [
            'log-ratio a token',
            `chosen ${shown(ratios[0])}, rejected ${shown(ratios[1]!)}  (of the pairs’ answers: no KL)`,
          ] as const,
        ]),
    ...(kl === undefined
      ? []
      : [
          [
            'KL from the reference',
            `${shown(kl)} ± ${shown(kl_standard_error!)} an answer, ${shown(kl_per_token!)} a token  (of ${n_kl_answers} answers that the model drew)`,
          ] as const,
        ]),
  ]);
}
