import { choice, path } from './fields';
import { type ConfigOf, commandSchema } from './schema';
import { requiredAdapter } from './shared';

/** `wpo merge`. */
export const mergeSchema = commandSchema({
  name: 'merge',
  summary: 'merge a LoRA adapter into its model',
  description: [
    'Writes a model that computes what a model and its adapter compute together. It is merged in float32 and rounded once to ' +
      'the type of the file. The command says how much of the adapter’s update that rounding loses: bfloat16 keeps about three ' +
      'significant digits of a weight, and an update can be smaller than that.',
    'Merging is not needed to use an adapter here: inspect, weigh, generate, sample and eval take it as --adapter.',
  ],
  fields: {
    model: path('model', {
      required: true,
      help: 'the model that the adapter belongs to: a folder, or org/name on the Hugging Face Hub',
    }),
    adapter: requiredAdapter,
    out: path('output', { required: true, help: 'the folder to write', flag: { placeholder: 'dir' } }),
    dtype: choice(
      { float32: '', bfloat16: '', float16: '' },
      { help: 'number type of the written model (default: that of the model)', flag: { placeholder: 'type' } },
    ),
  },
  examples: [
    'wpo merge --model google/gemma-2-9b-it --adapter runs/lora/model --out models/merged',
    'wpo merge --model google/gemma-2-9b-it --adapter runs/lora/model --out models/merged --dtype float32',
  ],
});

/** The configuration of `wpo merge`. @interface */
export type MergeConfig = { [K in keyof ConfigOf<typeof mergeSchema>]: ConfigOf<typeof mergeSchema>[K] };
