import { commandSchema } from './schema';

/** `wpo doctor`. */
export const doctorSchema = commandSchema({
  name: 'doctor',
  summary: 'check this machine’s installation',
  description: [
    'Prints the versions of Node and TensorFlow, the devices, threads and memory of this machine, and how to fix each ' +
      'problem that it finds.',
  ],
  fields: {},
  examples: ['wpo doctor'],
});
