import { setImmediate as yieldToEventLoop } from 'node:timers/promises';
import type { PromptFormat, SystemRole } from '@wpo/data';
import { loadTokenizerFolder } from '@wpo/data/node';
import type { NamedPrompt, SampleRequest, Sampler, SamplingParams } from '@wpo/eval';
import { generateBatchTokens } from '@wpo/gemma';
import { pauseAndCheck } from '@wpo/trainer';
import type { AdapterChoice } from '../adapters';
import { fromInput } from '../errors';
import { loadBackend, loadModel, type NumberTypes } from '../models';
import type { Terminal } from '../terminal/terminal';
import { encode as encodeOne, warnOfRenderedPrompts } from './encode-prompts';

export interface LocalSamplerOptions extends SamplingParams, NumberTypes {
  /** Folder of the model. */
  readonly model: string;
  readonly adapter?: AdapterChoice | undefined;
  readonly batchSize: number;
  /** All prompts that will be answered. */
  readonly prompts: readonly NamedPrompt[];
  /** The file of the prompts, for messages. */
  readonly promptsFile: string;
  readonly promptFormat: PromptFormat;
  readonly systemRole: SystemRole;
  readonly answersPerPrompt: number;
  readonly terminal: Terminal;
  /** When aborted, incomplete answers are dropped. */
  readonly signal: AbortSignal;
}

/** Samples answers from a Gemma-2 model on this machine. Each answer has its own seed, so it does not depend on its batch. */
export async function localSampler(options: LocalSamplerOptions): Promise<Sampler> {
  const { model: folder, promptFormat, systemRole, batchSize, signal, temperature, topP, maxNewTokens } = options;
  const textOptions = { ...(await fromInput(() => loadTokenizerFolder(folder))), promptFormat, systemRole };
  const encode = (prompt: NamedPrompt) => encodeOne(prompt, textOptions);
  const answers = Math.min(batchSize, options.prompts.length * options.answersPerPrompt);
  const promptTokens = await fromInput(() =>
    options.prompts.reduce((most, prompt) => Math.max(most, encode(prompt).length), 0),
  );
  warnOfRenderedPrompts(options.prompts, options.promptsFile, textOptions, options.terminal);
  const use = { kind: 'generate', answers, promptTokens, maxNewTokens } as const;
  const backend = await loadBackend(options);
  const { policy, stopIds, dispose } = await loadModel(folder, {
    ...backend,
    terminal: options.terminal,
    use,
    adapter: options.adapter,
  });
  const stops = [...stopIds, textOptions.tokenizer.tokenId('<end_of_turn>') ?? []].flat();

  async function* sample(batch: readonly SampleRequest[]) {
    const answers: number[][] = batch.map(() => []);
    const seed = batch.map((request) => request.seed);
    const pause = pauseAndCheck(() => signal.throwIfAborted());
    const settings = { temperature, topP, maxNewTokens, seed, stopIds: stops, kernels: backend.kernels, pause };
    try {
      for await (const { prompt, token } of generateBatchTokens(policy.model, batch.map(encode), settings)) {
        const ids = answers[prompt]!;
        ids.push(token);
        const stopped = stops.includes(token);
        if (stopped || ids.length === maxNewTokens) {
          const completion = textOptions.tokenizer.decode(ids, { skipSpecialTokens: true });
          yield {
            request: batch[prompt]!,
            completion,
            finish_reason: stopped ? ('stop' as const) : ('length' as const),
          };
        }
        await yieldToEventLoop(); // generation only queues microtasks, so signals would not be handled otherwise
        if (signal.aborted) return;
      }
    } catch (error) {
      if (error !== signal.reason) throw error;
    }
  }

  return {
    batchSize,
    concurrency: 1,
    // prompts of similar length share a batch; the longest come first, so that a lack of memory shows at once
    order: (prompts) =>
      prompts
        .map((prompt) => ({ prompt, length: encode(prompt).length }))
        .sort((a, b) => b.length - a.length)
        .map(({ prompt }) => prompt),
    sample,
    dispose,
  };
}
