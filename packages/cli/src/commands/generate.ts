import type { TextOptions } from '@wpo/data';
import { loadTokenizerFolder } from '@wpo/data/node';
import { readPrompts } from '@wpo/eval/node';
import { encode, type Prompt, warnOfRenderedPrompts } from '../answers/encode-prompts';
import { streamAnswer } from '../answers/stream-answer';
import { adapterIn, localModel } from '../downloads';
import { fromInput, UserError } from '../errors';
import { loadBackend, withModel } from '../models';
import { checkFlags } from '../schemas/flags';
import { type GenerateConfig, generateSchema } from '../schemas/generate';
import { processTerminal, type Terminal } from '../terminal/terminal';

/** A line that `--json` prints: the answer to one prompt. */
export interface Generated {
  readonly prompt_ids: readonly number[];
  /** Includes the stop token, if one ended the answer. */
  readonly completion_ids: readonly number[];
  /** Without special tokens. */
  readonly text: string;
}

/** `wpo generate`: answers prompts, as streamed text or as JSON lines. Returns the exit status. */
export async function generate(config: GenerateConfig, terminal: Terminal = processTerminal()): Promise<number> {
  checkFlags(generateSchema, config);
  const prompts = config.prompts === undefined ? [{ prompt: config.prompt! }] : await readPrompts(config.prompts);
  const folder = await localModel(config.model, terminal);
  const adapter = await adapterIn(config.adapter, terminal);
  const { raw, promptFormat, systemRole } = config;
  const textOptions = { ...(await fromInput(() => loadTokenizerFolder(folder))), promptFormat, systemRole };
  const encoded = await fromInput(() =>
    prompts.map((prompt) => (raw ? encodeRaw(prompt, textOptions) : encode(prompt, textOptions))),
  );
  if (!raw) warnOfRenderedPrompts(prompts, config.prompts ?? '--prompt', textOptions, terminal);
  const promptTokens = encoded.reduce((most, { length }) => Math.max(most, length), 0);
  const use = { kind: 'generate', answers: 1, promptTokens, maxNewTokens: config.maxNewTokens } as const;
  const backend = await loadBackend(config);
  const endOfTurn = raw ? undefined : textOptions.tokenizer.tokenId('<end_of_turn>');
  const show = config.json ? () => {} : (part: string) => void terminal.stdout.write(part);
  await withModel(folder, { ...backend, terminal, use, adapter }, async ({ policy, stopIds }) => {
    const stops = endOfTurn === undefined ? stopIds : [...stopIds, endOfTurn];
    for (const [i, promptIds] of encoded.entries()) {
      const { ids, text } = await streamAnswer(promptIds, policy.model, {
        ...config,
        ...{ seed: config.seed + i, stopIds: stops, kernels: backend.kernels },
        ...{ tokenizer: textOptions.tokenizer, show },
      });
      const answer: Generated = { prompt_ids: promptIds, completion_ids: ids, text };
      terminal.stdout.write(config.json ? `${JSON.stringify(answer)}\n` : '\n');
    }
  });
  return 0;
}

function encodeRaw({ prompt }: Prompt, { tokenizer }: TextOptions): number[] {
  if (typeof prompt === 'string') return tokenizer.encode(prompt);
  throw new UserError(
    '--raw: expected prompts that are text, found a list of messages. Without --raw, the chat template formats messages.',
  );
}
