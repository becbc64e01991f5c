import { Command } from 'commander';
import { describeKeys } from '../run-config';
import type { Terminal } from '../terminal';
import { collect, examples } from './values';

const EXAMPLES = [
  'wpo train recipes/demo.yaml',
  'wpo train run.yaml --set learning_rate=5e-7 --set output_dir=runs/slower',
  'wpo train run.yaml --resume',
];

/** `wpo train`. */
export const train = (terminal: Terminal, finish: (status: number) => void): Command =>
  new Command('train')
    .summary('train a model as a YAML file says')
    .description(
      'Trains a model on preference pairs as a YAML file says. output_dir then holds model/ (for transformers and for ' +
        'wpo generate), metrics.jsonl, checkpoint-STEP/ and config.yaml. Relative paths in the file start from its ' +
        'folder, those of --set from where you are.',
    )
    .argument('<config>', 'the run’s YAML file')
    .option('--set <key=value>', 'a key of the config, over the file’s; may be repeated', collect)
    .option('--resume', 'go on from the newest checkpoint in output_dir')
    .addHelpText('after', () => examples(EXAMPLES) + configKeys())
    .action(async (config: string, options: { set?: string[]; resume?: boolean }) => {
      const { train } = await import('../commands/train');
      finish(await train({ config, ...options }, terminal));
    });

function configKeys(): string {
  const width = Math.max(...describeKeys().map(({ key }) => key.length));
  const rows = describeKeys().map(({ key, default: value, meaning }) => {
    const note = value === 'required' ? ' (required)' : value === '' ? '' : ` (default ${value})`;
    return `  ${key.padEnd(width)}  ${meaning}${note}\n`;
  });
  return `\nKeys of the config:\n${rows.join('')}`;
}
