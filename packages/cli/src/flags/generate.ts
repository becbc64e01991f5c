import { Command, Option } from 'commander';
import type { Terminal } from '../terminal';
import { examples, number, whole } from './values';

const EXAMPLES = [
  'wpo generate --model demo/model --prompt "What does a compiler do?"',
  'wpo generate --model demo/model --prompts prompts.jsonl --temperature 0.8 --top-p 0.95 --json',
];

/** `wpo generate`. */
export const generate = (terminal: Terminal, finish: (status: number) => void): Command =>
  new Command('generate')
    .summary('answer prompts')
    .description('Answers prompts by a model, as text while it is written, or as JSON lines.')
    .requiredOption('--model <dir>', 'the model: a folder, or org/name on the hub')
    .addOption(new Option('--prompt <text>', 'the prompt').conflicts('prompts'))
    .option('--prompts <file>', 'JSONL file of {"prompt": text or messages}')
    .option('--max-new-tokens <tokens>', 'most tokens of an answer', whole(1), 256)
    .option(
      '--temperature <number>',
      '0 takes the likeliest token',
      number('0 or more', (n) => n >= 0),
      0,
    )
    .option('--top-k <tokens>', 'draw from the k likeliest tokens', whole(1))
    .option(
      '--top-p <share>',
      'draw from the likeliest tokens up to this probability',
      number('above 0, at most 1', (n) => n > 0 && n <= 1),
    )
    .option('--seed <number>', 'decides the draws; prompt i of a file has seed + i', whole(0), 0)
    .option('--raw', 'take the text as it is, without the chat template; write <bos> yourself')
    .option('--json', 'print {prompt_ids, completion_ids, text} a prompt')
    .addHelpText('after', examples(EXAMPLES))
    .action(async (options) => {
      const { generate } = await import('../commands/generate');
      finish(await generate(options, terminal));
    });
