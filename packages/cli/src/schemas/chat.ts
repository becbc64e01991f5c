import { integer, path } from './fields';
import { type ConfigOf, commandSchema } from './schema';
import { adapter, dtype, maxNewTokens, precision, samplingLimits, temperature } from './shared';

/** `wpo chat`. */
export const chatSchema = commandSchema({
  name: 'chat',
  summary: 'talk to a model, also beside the model before training',
  description: [
    'Reads messages line by line and prints the model’s answers while they are generated. Ctrl-C stops an answer. /compare shows, ' +
      'after each answer, that of the model before training to the same conversation. /new starts a new conversation, /help lists ' +
      'all of this, and /exit or Ctrl-D ends the chat.',
  ],
  fields: {
    model: path('model', { required: true, help: 'the model: a folder, or org/name on the Hugging Face Hub' }),
    adapter,
    compareWith: path('model', {
      help: 'the model that /compare shows, for example the one before training (default: --model without --adapter)',
    }),
    dtype,
    precision,
    maxNewTokens: maxNewTokens(512),
    temperature: temperature(0.7),
    ...samplingLimits,
    seed: integer({
      min: 0,
      default: 0,
      help: 'random seed; answer i, from 0, uses seed + i',
      flag: { placeholder: 'number' },
    }),
  },
  examples: [
    'wpo chat --model runs/wpo/model --compare-with google/gemma-2-2b-it',
    'wpo chat --model google/gemma-2-2b-it --adapter runs/lora/model',
    'echo "What does a compiler do?" | wpo chat --model demo/model',
  ],
});

export type ChatConfig = { [K in keyof ConfigOf<typeof chatSchema>]: ConfigOf<typeof chatSchema>[K] };
