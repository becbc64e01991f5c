import { Command, InvalidArgumentError } from 'commander';
import { lossNames, unknownLosses } from '../loss-config';
import { columnsFlag } from '../sources';
import type { Terminal } from '../terminal';
import { choice, examples, number, whole } from './values';

const EXAMPLES = [
  'wpo weigh --model demo/model --pairs demo/data/eval.jsonl --out weights.jsonl',
  'wpo weigh --model runs/a/model --ref demo/model --pairs pairs.jsonl --out weights.jsonl --beta 0.01',
  'wpo weigh --model demo/model --pairs demo/data/eval.jsonl --out weights.jsonl --loss-type simpo --beta 2',
];

const lossType = (name: string): string => {
  const [unknown] = unknownLosses({ loss_type: [name] });
  if (!unknown) return name;
  const [, problem] = unknown;
  throw new InvalidArgumentError(`${problem[0]!.toUpperCase()}${problem.slice(1)}`);
};

/** `wpo weigh`. */
export const weigh = (terminal: Terminal, finish: (status: number) => void): Command =>
  new Command('weigh')
    .summary('show which pairs a model would learn from')
    .description(
      'Writes what each pair would weigh in training, one JSON line a pair in file order: prompt_tokens, chosen_tokens, ' +
        'rejected_tokens, chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, alignment, weight, ' +
        'dpo_loss, wpo_loss, and with --loss-type also loss, weighted_loss; and prints a histogram of the weights.',
    )
    .requiredOption('--model <dir>', 'the model: a folder, or org/name on the hub')
    .option('--ref <dir>', 'the reference, likewise; without it, the model itself')
    .requiredOption('--pairs <file>', 'preference pairs: a file, folder, glob, or org/name on the hub')
    .option('--split <name>', 'split of a folder or a data set; without it, train_prefs or train')
    .option('--columns <field=column>', 'a field’s column; may be repeated', columnsFlag)
    .requiredOption('--out <file>', 'file to write')
    .option(
      '--beta <number>',
      'how hard the policy is held to its reference',
      number('above 0', (n) => n > 0),
      0.1,
    )
    .option(
      '--label-smoothing <share>',
      'pairs labelled the wrong way',
      number('0 to 0.5', (n) => n >= 0 && n <= 0.5),
      0,
    )
    .option('--loss-type <name>', `a loss to write too: ${lossNames.join(', ')}`, lossType)
    .option(
      '--kl <number>',
      'reference point of kto',
      number('0 or more', (n) => n >= 0),
    )
    .addOption(choice('--alignment <kind>', 'what token log-probs are measured against', ['sampled', 'greedy', 'none']))
    .option('--no-clamp', 'let weights go above 1, as TRL does')
    .addOption(choice('--completion <format>', 'what belongs to an answer', ['paper', 'trl', 'turn']))
    .addOption(choice('--truncation <mode>', 'how long pairs are cut', ['paper', 'keep_start']))
    .option('--max-length <tokens>', 'most tokens of prompt and answer', whole(2), 2048)
    .option('--max-prompt-length <tokens>', 'most tokens of a cut prompt', whole(1), 1800)
    .addOption(choice('--on-bad-row <what>', 'what a row that cannot be used does', ['error', 'skip']))
    .addHelpText('after', examples(EXAMPLES))
    .action(async (options) => {
      const { weigh } = await import('../commands/weigh');
      finish(await weigh(options, terminal));
    });
