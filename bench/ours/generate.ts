import { generateBatch } from '@wpo/gemma';
import { kernels, openPolicy, secondsSince } from './open';

export interface GenerateAnswer {
  readonly seconds: number;
  readonly ids: readonly (readonly number[])[];
}

/** The likeliest tokens after each prompt, side by side; none of them ends it. */
export async function openGenerate(options: { readonly model: string }) {
  const { policy } = await openPolicy(options.model);
  return async ({ prompts, tokens }: { prompts: number[][]; tokens: number }) => {
    const how = { temperature: 0, maxNewTokens: tokens, stopIds: [], kernels };
    const start = performance.now();
    const ids = await generateBatch(policy.model, prompts, how);
    const seconds = secondsSince(start);
    return async (): Promise<GenerateAnswer> => ({ seconds, ids });
  };
}
