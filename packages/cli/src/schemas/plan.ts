import * as v from 'valibot';
import { boolean, field, path } from './fields';
import { type ConfigOf, commandSchema, type FieldOptions } from './schema';
import { json, settings } from './shared';

const UNITS: Readonly<Record<string, number>> = {
  GB: 1e9,
  GiB: 2 ** 30,
  MB: 1e6,
  MiB: 2 ** 20,
};

/** An amount of memory in bytes, given with its unit. */
const memorySize = <const O extends FieldOptions<number>>(options: O) =>
  field(
    {
      expected: `a number above 0 and a unit: ${Object.keys(UNITS).join(', ')}`,
      json: { type: 'string' },
      schema: v.pipe(
        v.number(),
        v.check((found) => found > 0 && Number.isFinite(found)),
      ),
      placeholder: 'size',
      fromText(text) {
        const [, number, unit] = /^([\d.]+) ?([GM]i?B)$/.exec(text) ?? [];
        return number === undefined ? text : Number(number) * UNITS[unit!]!;
      },
    },
    { affects: 'nothing', ...options },
  );

/** Another machine than this one. */
export const machineFields = {
  deviceMemory: memorySize({ help: 'plan for a GPU with this much memory, e.g. 80GB' }),
  hostMemory: memorySize({ help: 'plan for a machine with this much memory, e.g. 128GB' }),
};

/** `wpo plan`. */
export const planSchema = commandSchema({
  name: 'plan',
  summary: 'show what a training run takes, before it starts',
  description: [
    'Prints the memory that a run of wpo train takes at its peak, and what it is for: weights, gradients, moments of the ' +
      'optimizer, activations, logits. If it does not fit, the settings that would make it fit follow. wpo train makes the same check ' +
      'before it starts.',
    'Without sizes of memory, the plan is for this machine, and for its GPU if TensorFlow uses one. If the run fits, a few passes ' +
      'through three layers of the model then show how long a step, all steps and the answers to prompts take. With sizes, no weights are read, so ' +
      'any model can be planned on any machine.',
  ],
  fields: {
    config: path('file', { required: true, help: 'the YAML file of wpo train', flag: { positional: true } }),
    set: settings('set a key of the file; may be repeated', 'key=value'),
    ...machineFields,
    time: boolean({
      default: true,
      help: 'also measure the time of a step, in about 20 s; not for another machine',
      flag: { negatedHelp: 'do not measure the time of a step, which takes about 20 s' },
    }),
    json,
  },
  examples: [
    'wpo plan recipes/demo.yaml',
    'wpo plan run.yaml --set per_device_train_batch_size=4',
    'wpo plan run.yaml --device-memory 80GB --host-memory 128GB',
  ],
});

export type PlanConfig = { [K in keyof ConfigOf<typeof planSchema>]: ConfigOf<typeof planSchema>[K] };
