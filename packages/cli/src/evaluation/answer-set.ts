import type { PromptFormat, SystemRole } from '@wpo/data';
import {
  type EvalInstruction,
  type ModelOutput,
  type NamedPrompt,
  type SamplingParams,
  sampleAnswers,
} from '@wpo/eval';
import { openReplyCache } from '@wpo/eval/node';
import { hashJson } from '@wpo/internal/node/hash';
import type { AdapterChoice } from '../adapters';
import { localSampler } from '../answers/local-sampler';
import { checkMemory } from '../memory';
import { hashModel, loadBackend, type NumberTypes, roundingOf } from '../models';
import { withProgress } from '../terminal/progress';
import type { StopSignal } from '../terminal/signals';
import type { Terminal } from '../terminal/terminal';

export interface AnswerSetOptions extends SamplingParams, NumberTypes {
  /** Folder of the model. */
  readonly model: string;
  readonly adapter: AdapterChoice | undefined;
  /** The model's name in the rows. */
  readonly generator: string;
  readonly seed: number;
  readonly batchSize: number;
  readonly instructions: readonly EvalInstruction[];
  /** The file of the instructions, for messages. */
  readonly instructionsFile: string;
  readonly promptFormat: PromptFormat;
  readonly systemRole: SystemRole;
  /** File that caches answers, by a hash of model, instruction and sampling settings. */
  readonly cache: string;
}

/**
 * Answers an evaluation set with a model on this machine.
 *
 * @returns one answer per instruction, in their order; null after a signal, with the answers so far kept in the cache
 */
export async function answerSet(
  options: AnswerSetOptions,
  stop: StopSignal,
  terminal: Terminal,
): Promise<ModelOutput[] | null> {
  const { instructions, generator, model: folder, adapter } = options;
  // before the hash of the weights, which reads them
  const use = { kind: 'generate', answers: 1, promptTokens: 1, maxNewTokens: 1 } as const;
  await checkMemory([{ folder, use, adapter }], await loadBackend(options), terminal);
  const keyOf = await keyMaker(options);
  const cache = await openReplyCache(options.cache, (value) => typeof value === 'string');
  try {
    const missing = instructions.filter(({ instruction }) => cache.get(keyOf(instruction)) === undefined);
    if (missing.length > 0) {
      const prompts = new Map(missing.map(({ instruction, at }) => [keyOf(instruction), { prompt: instruction, at }]));
      await answer(prompts, options, cache.set, stop, terminal);
    }
    if (stop.signal.aborted) return null;
    // alpaca_eval strips white space too, since it would count towards the length of an answer
    return instructions.map(({ at: _, ...row }) => ({
      ...row,
      output: cache.get(keyOf(row.instruction))!.trim(),
      generator,
    }));
  } finally {
    await cache.close();
  }
}

/** Answers prompts, given by their cache keys. */
async function answer(
  prompts: ReadonlyMap<string, Omit<NamedPrompt, 'prompt_id'>>,
  { seed, ...options }: AnswerSetOptions,
  save: (key: string, answer: string) => Promise<void>,
  { signal }: StopSignal,
  terminal: Terminal,
): Promise<void> {
  const all = Array.from(prompts, ([prompt_id, prompt]) => ({ prompt_id, ...prompt }));
  const named = { prompts: all, promptsFile: options.instructionsFile };
  const sampler = await localSampler({ ...options, ...named, answersPerPrompt: 1, terminal, signal });
  const { sample, order, dispose, batchSize } = sampler;
  let done = 0;
  try {
    await withProgress(terminal, { label: 'answer', total: all.length }, async (shown) => {
      shown.update(0);
      const sampling = { prompts: order(all), seeds: [seed], source: options.generator, sample, batchSize, signal };
      for await (const { prompt_id, completion } of sampleAnswers(sampling)) {
        await save(prompt_id, completion);
        shown.update(++done);
      }
    });
  } finally {
    dispose();
  }
}

async function keyMaker(options: AnswerSetOptions) {
  const { model, adapter, promptFormat, systemRole, temperature, topP, maxNewTokens, seed } = options;
  const settings = {
    ...{ temperature, topP, maxNewTokens, seed },
    ...(promptFormat === 'templated' && { promptFormat }),
    ...(systemRole === 'merge' && { systemRole }),
    ...roundingOf(options),
  };
  const hash = await hashModel(model, adapter);
  return (instruction: string) => hashJson({ model: hash, instruction, ...settings });
}
