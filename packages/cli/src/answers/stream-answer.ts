import { setImmediate as yieldToEventLoop } from 'node:timers/promises';
import type { Tokenizer } from '@wpo/data';
import { type Gemma2, type GenerateOptions, generateTokens } from '@wpo/gemma';
import { pauseAndCheck } from '@wpo/trainer';

export interface StreamOptions extends GenerateOptions {
  readonly tokenizer: Tokenizer;
  /** Gets the text piece by piece, as soon as no later token can change it. */
  readonly show: (part: string) => void;
  /** Ends the answer early, once it is aborted. */
  readonly signal?: AbortSignal;
}

export interface StreamedAnswer {
  /** Includes the stop token, if one ended the answer. */
  readonly ids: readonly number[];
  /** Without special tokens. */
  readonly text: string;
}

/** Generates an answer and shows it at the same time. @throws the errors of `generateTokens` */
export async function streamAnswer(
  promptIds: readonly number[],
  model: Gemma2,
  { tokenizer, show, signal, ...options }: StreamOptions,
): Promise<StreamedAnswer> {
  const ids: number[] = [];
  const textOf = () => tokenizer.decode(ids, { skipSpecialTokens: true });
  let shown = '';
  const pause = pauseAndCheck(() => signal?.throwIfAborted());
  try {
    for await (const id of generateTokens(model, promptIds, { ...options, pause })) {
      ids.push(id);
      await yieldToEventLoop(); // generation only queues microtasks, so keys and signals would not be handled otherwise
      if (signal?.aborted) break;
      const text = textOf();
      if (text.endsWith('\ufffd')) continue; // later tokens have the other bytes of the last character
      show(text.slice(shown.length));
      shown = text;
    }
  } catch (error) {
    if (!signal?.aborted || error !== signal.reason) throw error;
  }
  const text = textOf();
  show(text.slice(shown.length));
  return { ids, text };
}
