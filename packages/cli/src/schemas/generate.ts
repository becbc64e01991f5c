import { boolean, integer, path, text } from './fields';
import { type ConfigOf, commandSchema } from './schema';
import {
  adapter,
  dtype,
  maxNewTokens,
  precision,
  promptFormat,
  samplingLimits,
  systemRole,
  temperature,
} from './shared';

/** `wpo generate`. */
export const generateSchema = commandSchema({
  name: 'generate',
  summary: 'answer prompts with a model',
  description: ['Answers one prompt or a file of prompts. Prints the text while it is generated, or JSON lines.'],
  fields: {
    model: path('model', { required: true, help: 'the model: a folder, or org/name on the Hugging Face Hub' }),
    adapter,
    dtype,
    precision,
    prompt: text('text', { help: 'the prompt', flag: { placeholder: 'text', conflicts: ['prompts'] } }),
    prompts: path('file', { help: 'JSONL file of {"prompt": text or messages}' }),
    promptFormat,
    systemRole,
    maxNewTokens: maxNewTokens(256),
    temperature: temperature(0),
    ...samplingLimits,
    seed: integer({
      min: 0,
      default: 0,
      help: 'random seed; prompt i of a file, from 0, uses seed + i',
      flag: { placeholder: 'number' },
    }),
    raw: boolean({ help: 'continue the text as it is, without the chat template; write <bos> yourself' }),
    json: boolean({ help: 'print one JSON line per prompt: prompt_ids, completion_ids, text' }),
  },
  check({ prompt, prompts, promptFormat, raw }, name) {
    if (raw && promptFormat === 'templated') {
      const hint = `Leave out ${name('raw')}: it adds no <bos>.`;
      return [{ field: 'promptFormat', expected: `messages with ${name('raw')}`, found: promptFormat, hint }];
    }
    if ((prompt === undefined) !== (prompts === undefined)) return [];
    const expected = `exactly one of ${name('prompt')} and ${name('prompts')}`;
    return [{ field: 'prompt', expected, found: prompt === undefined ? 'neither' : 'both' }];
  },
  examples: [
    'wpo generate --model demo/model --prompt "What does a compiler do?"',
    'wpo generate --model google/gemma-2-2b-it --adapter runs/lora/model --prompt "What does a compiler do?"',
    'wpo generate --model demo/model --prompts prompts.jsonl --temperature 0.8 --top-p 0.95 --json',
  ],
});

/** The configuration of `wpo generate`. @interface */
export type GenerateConfig = { [K in keyof ConfigOf<typeof generateSchema>]: ConfigOf<typeof generateSchema>[K] };
