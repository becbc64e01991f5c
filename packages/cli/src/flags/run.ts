import { Command, Option } from 'commander';
import { STAGES } from '../run-file';
import type { Terminal } from '../terminal';
import { KEY_HELP } from './endpoint';
import { collect, examples } from './values';

const EXAMPLES = [
  'wpo run recipes/hybrid.yaml',
  'wpo run recipes/hybrid.yaml --only sample',
  'wpo run recipes/hybrid.yaml --set train.learning_rate=5e-7 --set output_dir=runs/slower',
];

/** `wpo run`. */
export const run = (terminal: Terminal, finish: (status: number) => void): Command =>
  new Command('run')
    .summary('go from prompts to a win rate as a YAML file says')
    .description(
      `Runs the stages that a YAML file has, in this order: ${STAGES.join(', ')}. Each is a block of the command’s own ` +
        'options, _ for -; the keys of train are those of wpo train. A stage whose inputs and settings are unchanged is ' +
        'passed over, and one that was stopped goes on. Relative paths in the file start from its folder, those of --set ' +
        'from where you are.',
    )
    .argument('<config>', 'the run’s YAML file')
    .option('--set <stage.key=value>', 'a key of a stage, or output_dir, over the file’s; may be repeated', collect)
    .addOption(new Option('--from <stage>', 'begin with this stage').choices(STAGES).conflicts('only'))
    .addOption(new Option('--only <stage>', 'run this stage alone').choices(STAGES))
    .addHelpText('after', KEY_HELP + examples(EXAMPLES))
    .action(async (config: string, options) => {
      const { run } = await import('../commands/run');
      finish(await run({ config, ...options }, terminal));
    });
