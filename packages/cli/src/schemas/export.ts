import { choice, integer, path } from './fields';
import { type ConfigOf, commandSchema } from './schema';

/** `wpo export`. */
export const exportSchema = commandSchema({
  name: 'export',
  summary: 'write the model of a checkpoint',
  description: [
    'Writes the model of a checkpoint of wpo train, e.g. of a run that was stopped: a model’s folder without the optimizer’s ' +
      'state, with the number type that the run would give its model. The checkpoint is checked against its checksums first. ' +
      'Other commands also take the checkpoint itself as their --model, or as their --adapter if the run trained an adapter.',
  ],
  fields: {
    run: path('file', { required: true, help: 'the folder of a run, its output_dir', flag: { positional: true } }),
    checkpoint: integer({
      min: 1,
      help: 'the step of the checkpoint (default: the newest one that is not damaged)',
      flag: { placeholder: 'step' },
    }),
    out: path('output', { help: 'the folder to write (default: model-STEP in the run’s folder)' }),
    dtype: choice(
      { float32: '', bfloat16: '', float16: '' },
      { help: 'number type of the written model (default: that of the run)', flag: { placeholder: 'type' } },
    ),
  },
  examples: ['wpo export runs/first', 'wpo export runs/first --checkpoint 500 --out models/first-500'],
});

/** The configuration of `wpo export`. @interface */
export type ExportConfig = { [K in keyof ConfigOf<typeof exportSchema>]: ConfigOf<typeof exportSchema>[K] };
