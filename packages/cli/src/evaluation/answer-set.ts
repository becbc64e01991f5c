import { type Drawing, type EvalInstruction, type ModelOutput, sampleAnswers } from '@wpo/eval';
import { hashJson } from '@wpo/trainer/node';
import * as v from 'valibot';
import { hashModel } from '../model';
import { withProgress } from '../progress';
import { localSampler } from '../sampling/local';
import type { Stop } from '../stop';
import type { Terminal } from '../terminal';
import { openMemo } from './memo';

export interface AnswerSetOptions extends Drawing {
  /** Folder of the model. */
  readonly model: string;
  /** What the rows call it. */
  readonly generator: string;
  readonly seed: number;
  readonly batchSize: number;
  readonly instructions: readonly EvalInstruction[];
  /** Keeps answers as they come, under all that they depend on. */
  readonly memo: string;
}

/**
 * Answers an evaluation set by a model on this machine.
 *
 * @returns an answer each, in the set's order; null where a signal stopped it, with what is there kept
 */
export async function answerSet(
  options: AnswerSetOptions,
  stop: Stop,
  terminal: Terminal,
): Promise<ModelOutput[] | null> {
  const { instructions, generator } = options;
  const keyOf = await keyMaker(options);
  const memo = await openMemo(options.memo, v.string());
  try {
    const missing = instructions.filter(({ instruction }) => memo.get(keyOf(instruction)) === undefined);
    if (missing.length > 0) {
      const prompts = new Map(missing.map(({ instruction }) => [keyOf(instruction), instruction]));
      await answer(prompts, options, memo.set, stop, terminal);
    }
    if (stop.signal.aborted) return null;
    // white space around an answer is no length of it: alpaca_eval strips what it samples, too
    return instructions.map((row) => ({ ...row, output: memo.get(keyOf(row.instruction))!.trim(), generator }));
  } finally {
    await memo.close();
  }
}

/** Answers prompts, each by its key. */
async function answer(
  prompts: ReadonlyMap<string, string>,
  { seed, ...options }: AnswerSetOptions,
  keep: (key: string, answer: string) => Promise<void>,
  { signal }: Stop,
  terminal: Terminal,
): Promise<void> {
  const { sample, order, dispose, batchSize } = await localSampler({ ...options, signal });
  const named = order(Array.from(prompts, ([prompt_id, prompt]) => ({ prompt_id, prompt })));
  let done = 0;
  await withProgress(terminal, { label: 'answer', total: named.length }, async (shown) => {
    shown.update(0);
    const asked = { prompts: named, seeds: [seed], source: options.generator, sample, batchSize, signal };
    for await (const { prompt_id, completion } of sampleAnswers(asked)) {
      await keep(prompt_id, completion);
      shown.update(++done);
    }
  });
  dispose();
}

async function keyMaker({ model, temperature, topP, maxNewTokens, seed }: AnswerSetOptions) {
  const hash = await hashModel(model);
  return (instruction: string) => hashJson({ model: hash, instruction, temperature, topP, maxNewTokens, seed });
}
