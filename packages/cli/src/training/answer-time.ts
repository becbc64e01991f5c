import { type Gemma2, generateBatchTokens, type Kernels } from '@wpo/gemma';
import type { PlannedAnswer } from '../report/prompt-answers';

/** What the answers take that a run samples before, while and after it trains. */
export interface AnswerTime {
  /** Number of answers. */
  readonly count: number;
  /** If each is as long as it may be. */
  readonly seconds: number;
}

/** A model's first layers, and its first alone. */
export interface AnsweringLayers {
  /** Number of layers of the whole model. */
  readonly all: number;
  /** Number of layers of `some`. */
  readonly count: number;
  readonly some: Gemma2;
  readonly first: Gemma2;
}

/** Tokens that are generated to measure one: at least two, and no more after some seconds. */
const MEASURED = 8;
/** Times that an answer is measured, if there is time: none is begun after some seconds. The first compiles code. */
const ROUNDS = 8;
const LONGEST = 1;

/**
 * Measures how long answers take: the pass through a prompt of about mean length, and the tokens after it, one by one, in the first
 * layers and in the first alone. The difference is the time of the layers between.
 *
 * @param maxTokens of an answer
 */
export async function planAnswers(
  answers: readonly PlannedAnswer[],
  { all, count, some, first }: AnsweringLayers,
  { kernels, maxTokens }: { readonly kernels: Kernels; readonly maxTokens: number },
): Promise<AnswerTime> {
  const total = answers.reduce((sum, { times }) => sum + times, 0);
  if (total === 0) return { count: 0, seconds: 0 };
  const meanTokens = answers.reduce((sum, { ids, times }) => sum + times * ids.length, 0) / total;
  const distance = ({ ids }: PlannedAnswer) => Math.abs(ids.length - meanTokens);
  const { ids } = answers.reduce((best, one) => (distance(one) < distance(best) ? one : best));
  const timesOf = async (model: Gemma2) => {
    const startedAt = performance.now();
    let fastest = await timeAnswer(model, ids, { kernels, maxTokens });
    for (let i = 1; i < ROUNDS && performance.now() - startedAt < 1000 * LONGEST; i++) {
      const { prompt, token } = await timeAnswer(model, ids, { kernels, maxTokens });
      fastest = { prompt: Math.min(prompt, fastest.prompt), token: Math.min(token, fastest.token) };
    }
    return fastest;
  };
  const [ofSome, ofFirst] = [await timesOf(some), await timesOf(first)];
  const ofAll = (part: 'prompt' | 'token') => {
    const layer = count > 1 ? Math.max(0, (ofSome[part] - ofFirst[part]) / (count - 1)) : 0;
    return ofSome[part] + (all - count) * layer;
  };
  const seconds = total * ((ofAll('prompt') * meanTokens) / ids.length + (maxTokens - 1) * ofAll('token'));
  return { count: total, seconds };
}

/** Seconds of a prompt with the first token of its answer, and of each token after that. */
async function timeAnswer(
  model: Gemma2,
  ids: ArrayLike<number>,
  { kernels, maxTokens }: { readonly kernels: Kernels; readonly maxTokens: number },
) {
  const startedAt = performance.now();
  let firstAt = startedAt;
  let generated = 0;
  const settings = { temperature: 0, maxNewTokens: maxTokens, stopIds: [], kernels };
  for await (const _ of generateBatchTokens(model, [ids], settings)) {
    generated += 1;
    if (generated === 1) firstAt = performance.now();
    if (generated === MEASURED || (generated > 1 && performance.now() - firstAt > 1000 * LONGEST)) break;
  }
  const after = (performance.now() - firstAt) / 1000;
  return { prompt: (firstAt - startedAt) / 1000, token: after / Math.max(1, generated - 1) };
}
