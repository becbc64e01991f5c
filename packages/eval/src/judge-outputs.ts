import { type ConcurrencyOptions, concurrently } from '@wpo/internal/concurrently';
import type { Annotation, ModelOutput, OutputPair } from './alpaca-rows';
import type { Preference } from './win-rate';

/** Two answers in the order in which a judge is shown them. */
export interface JudgeRequest {
  readonly instruction: string;
  readonly output_1: string;
  readonly output_2: string;
}

/** What a judge made of them. */
export interface Judgement {
  /** 1 where the first answer is better, 2 where the second is, or between; null where the judge did not say. */
  readonly preference: Preference;
  /** The judge's own words. */
  readonly text: string;
}

export interface JudgeOutputsOptions extends ConcurrencyOptions<OutputPair> {
  readonly pairs: readonly OutputPair[];
  readonly judge: (request: JudgeRequest) => Promise<Judgement>;
  /** The judge's name. */
  readonly annotator: string;
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Pairs a model's answers with the baseline's by their instructions, in the baseline's order; where an instruction stands
 * several times, the first answers go together, and so on. Answers of which one side is missing are left out.
 */
export function pairOutputs(baseline: readonly ModelOutput[], model: readonly ModelOutput[]): OutputPair[] {
  const waiting = new Map<string, ModelOutput[]>();
  for (const answer of model) waiting.set(answer.instruction, [...(waiting.get(answer.instruction) ?? []), answer]);
  return baseline.flatMap(({ instruction, dataset, output, generator }) => {
    const own = waiting.get(instruction)?.shift();
    if (own === undefined) return [];
    const set = dataset ?? own.dataset;
    return {
      instruction,
      ...(set === undefined ? {} : { dataset: set }),
      output_1: output,
      generator_1: generator,
      output_2: own.output,
      generator_2: own.generator,
    };
  });
}

/**
 * Has each pair judged in both orders, since judges lean to one place, and gives the mean of both preferences: the model's
 * share. A pair of equal answers is a draw, and not asked about; one of which an order got no answer has the preference
 * null. Rows come in the order of `pairs`.
 *
 * @returns fewer rows than pairs where the signal stopped it
 * @throws what `judge` threw, once the questions under way are answered, where no `onError` is given
 */
export async function judgeOutputs(options: JudgeOutputsOptions): Promise<Annotation[]> {
  const { pairs, onProgress } = options;
  const rows: (Annotation | undefined)[] = pairs.map(() => undefined);
  let done = 0;
  const judgeAt = async function* (place: number) {
    yield { place, row: await judgePair(pairs[place]!, options) };
  };
  const { concurrency, signal, onError } = options;
  const tell = onError && ((error: unknown, place: number) => onError(error, pairs[place]!));
  for await (const { place, row } of concurrently(pairs.keys(), judgeAt, { concurrency, signal, onError: tell })) {
    rows[place] = row;
    onProgress?.(++done, pairs.length);
  }
  return rows.filter((row) => row !== undefined);
}

async function judgePair(pair: OutputPair, { judge, annotator }: JudgeOutputsOptions): Promise<Annotation> {
  const { instruction, output_1, output_2 } = pair;
  if (output_1 === output_2) return { ...pair, annotator, preference: 1.5, raw_completion: null };
  const asked = await judge({ instruction, output_1, output_2 });
  const turned = await judge({ instruction, output_1: output_2, output_2: output_1 });
  const preference =
    asked.preference === null || turned.preference === null ? null : (asked.preference + (3 - turned.preference)) / 2;
  return { ...pair, annotator, preference, raw_completion: [asked.text, turned.text] };
}
