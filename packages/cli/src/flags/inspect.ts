import { Command } from 'commander';
import { columnsFlag } from '../sources';
import type { Terminal } from '../terminal';
import { choice, examples, whole } from './values';

export function inspect(terminal: Terminal, finish: (status: number) => void): Command {
  return new Command('inspect')
    .summary('look at preference pairs before training')
    .description(
      'Prints what a file of pairs is like: counts, lengths, what the length limits would cut, score margins, sources, ' +
        'how often the chosen answer is the longer one, what came twice, and the rows to look at first. Lengths are in ' +
        'tokens with --tokenizer or --model, else in words.',
    )
    .argument('<file>', 'preference pairs: a file, folder, glob, or org/name on the hub')
    .option('--split <name>', 'split of a folder or a data set; without it, train_prefs or train')
    .option('--columns <field=column>', 'a field’s column; may be repeated', columnsFlag)
    .option('--tokenizer <dir>', 'a tokenizer and its chat template: a model’s folder, or org/name on the hub')
    .option('--model <dir>', 'a model: adds WPO weights by source, and is the tokenizer unless another is given')
    .option('--weigh <pairs>', 'how many pairs the model weighs, drawn by --seed', whole(1), 200)
    .option('--seed <number>', 'decides which', whole(0), 42)
    .addOption(choice('--completion <format>', 'what belongs to an answer', ['paper', 'trl', 'turn']))
    .addOption(choice('--truncation <mode>', 'how long pairs are cut', ['paper', 'keep_start']))
    .option('--max-length <tokens>', 'most tokens of prompt and answer', whole(2), 2048)
    .option('--max-prompt-length <tokens>', 'most tokens of a cut prompt', whole(1), 1800)
    .option('--worst <rows>', 'rows named of each kind', whole(0), 3)
    .option('--json', 'print all of it as JSON')
    .addHelpText('after', examples(EXAMPLES))
    .action(async (file: string, options) => {
      const { inspect } = await import('../commands/inspect');
      finish(await inspect({ file, ...options }, terminal));
    });
}

const EXAMPLES = [
  'wpo inspect pairs.jsonl',
  'wpo inspect pairs.jsonl --tokenizer models/gemma-2-9b-it --max-length 2048 --max-prompt-length 1800',
  'wpo inspect demo/data/train.jsonl --model demo/model',
];
