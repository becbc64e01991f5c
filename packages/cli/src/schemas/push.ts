import { boolean, path, text } from './fields';
import { type ConfigOf, commandSchema } from './schema';

/** `wpo push`. */
export const pushSchema = commandSchema({
  name: 'push',
  summary: 'upload a model to the Hugging Face Hub',
  description: [
    'Uploads the folder of a model or an adapter, with its model card, to a repository on the Hub, which is created if it does not exist. ' +
      'If an upload is stopped or fails, run the same command again: files that have arrived are not sent again.',
    'wpo train does this at the end of a run with push_to_hub: true.',
  ],
  fields: {
    folder: path('file', {
      required: true,
      help: 'the folder of a model or an adapter, e.g. model/ in the output_dir of wpo train',
      flag: { positional: true },
    }),
    repo: text('org/name, or a name in your own account', {
      required: true,
      affects: 'nothing',
      help: 'the repository, org/name, or a name in the account of the token',
      flag: { placeholder: 'org/name' },
    }),
    private: boolean({ help: 'create a private repository; one that exists stays as it is' }),
  },
  examples: ['wpo push runs/first/model --repo my-org/gemma-2-2b-it-wpo --private'],
  notes: ['The token is read from the environment: HF_TOKEN. It needs write access.'],
});

export type PushConfig = { [K in keyof ConfigOf<typeof pushSchema>]: ConfigOf<typeof pushSchema>[K] };
