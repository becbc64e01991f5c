import type { EncodedPair } from '@wpo/data';
import { type KlMetrics, klMetrics, type RewardMetrics, rewardMetrics } from '@wpo/eval';
import { type GemmaPolicy, generateBatchTokens } from '@wpo/gemma';
import { type Policy, pauseAndCheck, precomputeReference, type TokenPair } from '@wpo/trainer';
import type { AdapterChoice } from '../adapters';
import { adapterIn, localModel } from '../downloads';
import { checkMemory, largestPass } from '../memory';
import { type Backend, loadBackend, withModel } from '../models';
import { pairReader } from '../pairs';
import type { EvalConfigWith } from '../schemas/eval';
import { alignedRows } from '../terminal/format';
import { withProgress } from '../terminal/progress';
import { type StopSignal, stopIfAsked, withSignals } from '../terminal/signals';
import type { Terminal } from '../terminal/terminal';

type HeldOutConfig = EvalConfigWith<'pairs' | 'model'>;

/** Prints the implicit rewards of held-out pairs, and the KL divergence of the model from its reference. */
export async function evalPairs(config: HeldOutConfig, terminal: Terminal): Promise<number> {
  const folder = await localModel(config.model, terminal);
  const adapter = await adapterIn(config.adapter, terminal);
  const ref = config.ref === undefined ? undefined : await localModel(config.ref, terminal);
  const read = await pairReader(folder, terminal, config);
  const { pairs } = await read(config.pairs);
  const backend = await loadBackend(config);
  if (ref !== undefined) await checkMemory([{ folder: ref, use: scoring(pairs) }], backend, terminal); // before the model runs
  return withSignals(terminal, async (stop) => {
    const context = { backend, terminal, stop };
    const { sampled, ...policy } = await runModel(pairs, { ...config, model: folder, adapter }, context);
    const reference = ref === undefined ? undefined : await runReference(ref, pairs, sampled, context);
    const metrics = {
      ...rewardMetrics({ pairs, policy: policy.held, reference: reference?.held }, config.beta),
      ...(reference &&
        sampled.length > 0 &&
        klMetrics({ policy: policy.sampledLogps, reference: reference.sampledLogps })),
    };
    terminal.stdout.write(`${config.json ? JSON.stringify(metrics, null, 2) : formatHeldOut(metrics, config)}\n`);
    return 0;
  });
}

interface Context {
  readonly backend: Backend;
  readonly terminal: Terminal;
  readonly stop: StopSignal;
}

const scoring = (pairs: readonly EncodedPair[] | readonly TokenPair[]) =>
  ({ kind: 'score', ...largestPass(pairs) }) as const;

const loadOptions = (pairs: readonly EncodedPair[] | readonly TokenPair[], { backend, terminal }: Context) => ({
  ...backend,
  terminal,
  use: scoring(pairs),
});

/** Runs the model on the held-out pairs, and samples answers for the KL divergence. Frees the model before it returns. */
const runModel = (
  pairs: readonly EncodedPair[],
  config: Omit<HeldOutConfig, 'adapter'> & { readonly adapter: AdapterChoice | undefined },
  context: Context,
) =>
  withModel(config.model, { ...loadOptions(pairs, context), adapter: config.adapter }, async ({ policy, stopIds }) => {
    const held = await logpsBy(policy, pairs, 'model', context);
    const prompts = config.ref === undefined ? [] : pairs.slice(0, config.klPrompts);
    const sampled = await withProgress(context.terminal, { label: 'sample', total: prompts.length }, (shown) =>
      samplePairs(policy, prompts, context, { ...config, stopIds }, shown.update),
    );
    return { held, sampled, sampledLogps: await tokenLogps(policy, sampled, context.stop) };
  });

const runReference = (folder: string, pairs: readonly TokenPair[], sampled: readonly TokenPair[], context: Context) =>
  withModel(folder, loadOptions(pairs, context), async ({ policy }) => ({
    held: await logpsBy(policy, pairs, 'reference', context),
    sampledLogps: await tokenLogps(policy, sampled, context.stop),
  }));

interface SamplePairsOptions {
  readonly maxNewTokens: number;
  readonly stopIds: readonly number[];
  /** Prompt i uses the seeds seed + 2i and seed + 2i + 1. */
  readonly seed: number;
}

/** Samples two answers to each prompt from the model's own distribution: at temperature 1, without top-p. */
async function samplePairs(
  { model }: GemmaPolicy,
  pairs: readonly EncodedPair[],
  { backend: { kernels }, stop }: Context,
  { seed, ...options }: SamplePairsOptions,
  onProgress: (done: number) => void,
): Promise<TokenPair[]> {
  const sampled: TokenPair[] = [];
  for (const [i, { id, prompt }] of pairs.entries()) {
    await stopIfAsked(stop);
    const [chosen, rejected]: [number[], number[]] = [[], []];
    const settings = { ...options, temperature: 1, seed: [seed + 2 * i, seed + 2 * i + 1], kernels };
    for await (const { prompt: side, token } of generateBatchTokens(model, [prompt, prompt], settings)) {
      (side === 0 ? chosen : rejected).push(token);
    }
    sampled.push({ id, prompt, chosen, rejected });
    onProgress(i + 1);
  }
  return sampled;
}

/** The log-prob of each token of the pairs' answers: chosen and rejected of the first pair, then of the second, and so on. */
async function tokenLogps(policy: Policy, pairs: readonly TokenPair[], stop: StopSignal): Promise<ArrayLike<number>[]> {
  const answers: ArrayLike<number>[] = [];
  const pause = pauseAndCheck(() => stop.signal.throwIfAborted());
  for (const pair of pairs) {
    await stopIfAsked(stop);
    const forward = await policy.forward([pair], { train: false, pause });
    try {
      const { logps } = await forward.terms();
      answers.push(logps.subarray(0, pair.chosen.length), logps.subarray(pair.chosen.length));
    } finally {
      forward.dispose();
    }
  }
  return answers;
}

const logpsBy = (policy: Policy, pairs: readonly TokenPair[], label: string, { terminal, stop }: Context) =>
  withProgress(terminal, { label, total: pairs.length }, (shown) =>
    precomputeReference({ policy, pairs, signal: stop.signal, onProgress: (done) => shown.update(done) }),
  );

function formatHeldOut(metrics: RewardMetrics & Partial<KlMetrics>, { ref, beta }: HeldOutConfig): string {
  const shown = (value: number) => value.toFixed(4);
  const { kl, kl_standard_error, kl_per_token, n_kl_answers } = metrics;
  const ratios = [metrics['log_ratio_per_token/chosen'], metrics['log_ratio_per_token/rejected']];
  return alignedRows([
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
            'log-ratio per token',
            `chosen ${shown(ratios[0])}, rejected ${shown(ratios[1]!)}  (of the pairs’ answers; not a KL)`,
          ] as const,
        ]),
    ...(kl === undefined
      ? []
      : [
          [
            'KL from the reference',
            `${shown(kl)} ± ${shown(kl_standard_error!)} per answer, ${shown(kl_per_token!)} per token  (of ${n_kl_answers} answers that the model drew)`,
          ] as const,
        ]),
  ]);
}
