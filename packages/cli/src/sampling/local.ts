import { setImmediate as breathe } from 'node:timers/promises';
import { encodePrompt } from '@wpo/data';
import { loadTokenizerFolder } from '@wpo/data/node';
import { type Drawing, type NamedPrompt, promptMessages, type SampleRequest, type Sampler } from '@wpo/eval';
import { generateBatchTokens } from '@wpo/gemma';
import { loadBackend } from '../backend';
import { fromInput } from '../errors';
import { loadModel } from '../model';

export interface LocalOptions extends Drawing {
  /** Folder of the model. */
  readonly model: string;
  readonly batchSize: number;
  /** Once aborted, answers that are not whole are given up. */
  readonly signal: AbortSignal;
}

/** Answers by a Gemma-2 on this machine: prompts of like length side by side, each answer by its own seed. */
export async function localSampler({ model: folder, batchSize, signal, ...drawing }: LocalOptions): Promise<Sampler> {
  const text = await fromInput(() => loadTokenizerFolder(folder));
  const backend = await loadBackend();
  const { policy, stopIds, dispose } = await loadModel(folder, backend);
  const stops = [...stopIds, text.tokenizer.tokenId('<end_of_turn>') ?? []].flat();
  const { temperature, topP, maxNewTokens } = drawing;
  const encode = ({ prompt }: NamedPrompt) => encodePrompt(promptMessages(prompt), text);

  async function* sample(batch: readonly SampleRequest[]) {
    const answers: number[][] = batch.map(() => []);
    const options = { temperature, topP, maxNewTokens, stopIds: stops, kernels: backend.kernels };
    const seed = batch.map((request) => request.seed);
    for await (const { prompt, token } of generateBatchTokens(policy.model, batch.map(encode), { ...options, seed })) {
      const ids = answers[prompt]!;
      ids.push(token);
      const stopped = stops.includes(token);
      if (stopped || ids.length === maxNewTokens) {
        const completion = text.tokenizer.decode(ids, { skipSpecialTokens: true });
        yield { request: batch[prompt]!, completion, finish_reason: stopped ? ('stop' as const) : ('length' as const) };
      }
      await breathe(); // TensorFlow never leaves the microtask queue: signals would not be heard
      if (signal.aborted) return;
    }
  }

  return {
    batchSize,
    concurrency: 1,
    order: (prompts) =>
      prompts
        .map((prompt) => ({ prompt, length: encode(prompt).length }))
        .sort((a, b) => b.length - a.length) // the longest first: what does not fit in memory shows at once
        .map(({ prompt }) => prompt),
    sample,
    dispose,
  };
}
