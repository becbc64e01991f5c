import { evalSchema } from './eval';
import { choice, path } from './fields';
import { pairSchema } from './pair';
import { sampleSchema } from './sample';
import { type CommandSchema, commandSchema } from './schema';
import { scoreSchema } from './score';
import { jsonFlag, settings } from './shared';
import { trainSchema } from './train';
import { weighSchema } from './weigh';

/** A stage of `wpo run`: the command that it runs. */
export type StageName = 'sample' | 'score' | 'pair' | 'weigh' | 'train' | 'eval';

/** A stage of `wpo run`: a command, and the fields that have a default in a run. */
export interface StageSchema {
  readonly schema: CommandSchema;
  /** The field that says where the stage writes, and its default below the run's `output_dir`. */
  readonly output: { readonly field: string; readonly path: string };
  /** A field whose default is the output of an earlier stage. */
  readonly input?: { readonly field: string; readonly from: StageName };
}

/** All stages, in the order in which they run. */
export const STAGES: Readonly<Record<StageName, StageSchema>> = {
  sample: { schema: sampleSchema, output: { field: 'out', path: 'answers.jsonl' } },
  score: {
    schema: scoreSchema,
    output: { field: 'out', path: 'scored.jsonl' },
    input: { field: 'answers', from: 'sample' },
  },
  pair: {
    schema: pairSchema,
    output: { field: 'out', path: 'pairs.jsonl' },
    input: { field: 'answers', from: 'score' },
  },
  weigh: {
    schema: weighSchema,
    output: { field: 'out', path: 'weights.jsonl' },
    input: { field: 'pairs', from: 'pair' },
  },
  train: {
    schema: trainSchema,
    output: { field: 'outputDir', path: 'train' },
    input: { field: 'trainFile', from: 'pair' },
  },
  eval: { schema: evalSchema, output: { field: 'out', path: 'eval' }, input: { field: 'model', from: 'train' } },
};

export const STAGE_NAMES = Object.keys(STAGES) as StageName[];

const stageChoices = Object.fromEntries(STAGE_NAMES.map((name) => [name, ''])) as Readonly<Record<StageName, ''>>;

/** `wpo run`. */
export const runSchema = commandSchema({
  name: 'run',
  summary: 'run several commands, from prompts to a win rate',
  description: [
    `Runs the stages that a YAML file configures, always in this order: ${STAGE_NAMES.join(', ')}. Each stage is a block ` +
      'with the options of its command as keys (max_new_tokens for --max-new-tokens); the keys of train are those of wpo ' +
      'train. A key that is left out has its command’s default, and inputs default to the output of the stage before.',
    'Run the same command again to resume: a stage is skipped if its settings and inputs have not changed and its output ' +
      'is complete, and a stage that was stopped continues.',
    'Relative paths in the file start from the folder of the file, those of --set from the working directory.',
  ],
  configFile: true,
  fields: {
    outputDir: path('output', { required: true, help: 'folder for the output of all stages, and for run.json' }),
  },
  flags: {
    config: path('file', {
      required: true,
      help: 'YAML file with output_dir and a block for each stage',
      flag: { positional: true },
    }),
    set: settings('set output_dir or a key of a stage; may be repeated', 'stage.key=value'),
    from: choice(stageChoices, { help: 'start with this stage', flag: { placeholder: 'stage', conflicts: ['only'] } }),
    only: choice(stageChoices, { help: 'run only this stage', flag: { placeholder: 'stage' } }),
    json: jsonFlag,
  },
  examples: [
    'wpo run recipes/hybrid.yaml',
    'wpo run recipes/hybrid.yaml --only sample',
    'wpo run recipes/hybrid.yaml --set train.learning_rate=5e-7 --set output_dir=runs/slower',
  ],
});
