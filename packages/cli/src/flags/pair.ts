import { Command } from 'commander';
import type { Terminal } from '../terminal';
import { choice, examples, number, whole } from './values';

export function pair(terminal: Terminal, finish: (status: number) => void): Command {
  return new Command('pair')
    .summary('make preference pairs of scored answers')
    .description(
      'Makes a pair of each prompt’s answers: the one of the highest score (the shortest of several) against a lower ' +
        'one. Writes one JSON line a pair: prompt_id, prompt, chosen, rejected, score_chosen, score_rejected, ' +
        'source_chosen, source_rejected, and the other fields of the answers; and prints what was left out and why.',
    )
    .requiredOption('--answers <files...>', 'JSONL files of scored answers, as wpo score writes them')
    .requiredOption('--out <file>', 'file to write')
    .addOption(
      choice('--strategy <name>', 'which lower answer is rejected: the lowest, any, or the highest', [
        'max-min',
        'max-random',
        'margin',
      ]),
    )
    .option(
      '--min-margin <number>',
      'how much lower the rejected answer’s score is at least',
      number('0 or more', (n) => n >= 0),
    )
    .option('--off-policy <sources...>', 'sources that are not the model to be trained')
    .option(
      '--hybrid <share>',
      'share of prompts at which off-policy answers take part; default 1',
      number('from 0 to 1', (n) => n >= 0 && n <= 1),
    )
    .option('--seed <number>', 'decides the draws of max-random and of --hybrid', whole(0), 42)
    .option('--against <file>', 'an evaluation set: pairs that share words in a row with it are reported')
    .option('--ngram <words>', 'how many words in a row', whole(1), 13)
    .option('--drop-overlaps', 'leave such pairs out')
    .addOption(choice('--on-bad-row <what>', 'what a row that cannot be used does', ['error', 'skip']))
    .option('--json', 'print the summary as JSON')
    .addHelpText('after', examples(EXAMPLES))
    .action(async (options) => {
      const { pair } = await import('../commands/pair');
      finish(await pair(options, terminal));
    });
}

const EXAMPLES = [
  'wpo pair --answers scored.jsonl gpt4-scored.jsonl --out pairs.jsonl',
  'wpo pair --answers scored.jsonl --out pairs.jsonl --strategy max-random --seed 1',
  'wpo pair --answers all.jsonl --off-policy gpt-4-turbo --hybrid 0.5 --against alpaca_eval.json --out pairs.jsonl',
];
