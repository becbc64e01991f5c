import type { EncodedPair } from '@wpo/data';
import { type GemmaPolicy, generateBatchTokens } from '@wpo/gemma';
import type { Policy, TokenPair } from '@wpo/trainer';
import type { Backend } from '../backend';

export interface DrawOptions {
  readonly maxNewTokens: number;
  readonly stopIds: readonly number[];
  /** Prompt i draws by seed + 2i and seed + 2i + 1. */
  readonly seed: number;
}

/** Has the model draw two answers to each prompt from its own distribution, as it is: no temperature, nothing cut off. */
export async function drawPairs(
  { model }: GemmaPolicy,
  pairs: readonly EncodedPair[],
  { kernels }: Backend,
  { seed, ...options }: DrawOptions,
  onProgress: (done: number) => void,
): Promise<TokenPair[]> {
  const drawn: TokenPair[] = [];
  for (const [i, { id, prompt }] of pairs.entries()) {
    const [chosen, rejected]: [number[], number[]] = [[], []];
    const drawing = { ...options, temperature: 1, seed: [seed + 2 * i, seed + 2 * i + 1], kernels };
    for await (const written of generateBatchTokens(model, [prompt, prompt], drawing)) {
      (written.prompt === 0 ? chosen : rejected).push(written.token);
    }
    drawn.push({ id, prompt, chosen, rejected });
    onProgress(i + 1);
  }
  return drawn;
}

/** log p of each token of the pairs' answers: chosen and rejected of the first pair, of the second, and so on. */
export async function tokenLogps(policy: Policy, pairs: readonly TokenPair[]): Promise<ArrayLike<number>[]> {
  const answers: ArrayLike<number>[] = [];
  for (const pair of pairs) {
    const forward = policy.forward([pair], { train: false });
    const { logps } = await forward.terms();
    answers.push(logps.subarray(0, pair.chosen.length), logps.subarray(pair.chosen.length));
    forward.dispose();
  }
  return answers;
}
