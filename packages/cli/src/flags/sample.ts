import { Command, InvalidArgumentError } from 'commander';
import type { Terminal } from '../terminal';
import { KEY_HELP, withEndpointFlags } from './endpoint';
import { examples, number, whole } from './values';

export function sample(terminal: Terminal, finish: (status: number) => void): Command {
  const command = new Command('sample')
    .summary('answer prompts several times, for pairs')
    .description(
      'Answers each prompt once by each seed, by a model on this machine or by an OpenAI-compatible server, and writes ' +
        'one JSON line an answer as it comes: prompt_id, prompt, completion, source, seed, finish_reason, temperature, ' +
        'top_p, max_new_tokens. What is in the file already is not asked for again: run the same command to go on.',
    )
    .option('--model <dir>', 'the model’s folder; with --endpoint, the name of the model to ask there')
    .option('--endpoint <url>', 'an OpenAI-compatible server, as http://localhost:8000/v1')
    .requiredOption('--prompts <file>', 'JSONL file of {"prompt": text or messages, "prompt_id"?}')
    .requiredOption('--out <file>', 'file to write, or to go on with')
    .option('-n, --per-prompt <count>', 'answers a prompt, by the first so many seeds; default one by each', whole(1))
    .option('--seeds <list>', 'what decides the draws of each answer', seedList, [13, 21, 42, 79, 100])
    .option(
      '--temperature <number>',
      '0 takes the likeliest token',
      number('0 or more', (n) => n >= 0),
      0.8,
    )
    .option(
      '--top-p <share>',
      'draw from the likeliest tokens up to this probability',
      number('above 0, at most 1', (n) => n > 0 && n <= 1),
      0.95,
    )
    .option('--max-new-tokens <tokens>', 'most tokens of an answer', whole(1), 2048)
    .option('--source <name>', 'what the rows call the model; default as --model has it, or as the server does')
    .option('--batch-size <answers>', 'answers that a model on this machine writes side by side', whole(1), 8);
  return withEndpointFlags(command)
    .addHelpText('after', KEY_HELP + examples(EXAMPLES))
    .action(async (options) => {
      const { sample } = await import('../commands/sample');
      finish(await sample(options, terminal));
    });
}

const EXAMPLES = [
  'wpo sample --model demo/model --prompts prompts.jsonl --out answers.jsonl --max-new-tokens 128',
  'wpo sample --endpoint http://localhost:8000/v1 --prompts prompts.jsonl --out answers.jsonl -n 5 --concurrency 64',
];

function seedList(text: string): number[] {
  const seeds = text.split(',').map(Number);
  if (!/^\d+(,\d+)*$/.test(text) || !seeds.every(Number.isSafeInteger) || new Set(seeds).size < seeds.length) {
    throw new InvalidArgumentError('Wanted different whole numbers with commas between them, as 13,21,42.');
  }
  return seeds;
}
