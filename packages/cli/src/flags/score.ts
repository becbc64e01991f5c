import { Command, Option } from 'commander';
import type { Terminal } from '../terminal';
import { KEY_HELP, withEndpointFlags } from './endpoint';
import { choice, examples } from './values';

export function score(terminal: Terminal, finish: (status: number) => void): Command {
  const command = new Command('score')
    .summary('score answers by a file, a reward model or a judge')
    .description(
      'Writes the answers with a score each, as it comes: the fields they have, score (more is better), and scored_by. ' +
        'What is in the file already is not asked for again: run the same command to go on.',
    )
    .requiredOption('--answers <files...>', 'JSONL files of answers, as wpo sample writes them')
    .requiredOption('--out <file>', 'file to write, or to go on with')
    .addOption(
      new Option('--rewards <file>', 'JSONL file of {"score", "prompt_id"?, "source"?, "seed"?}').conflicts([
        'endpoint',
        'judge',
      ]),
    )
    .addOption(new Option('--endpoint <url>', 'a server of a reward model').conflicts('judge'))
    .addOption(choice('--api <path>', 'how the reward model is asked', ['pooling', 'classify', 'score']))
    .option('--judge <url>', 'an OpenAI-compatible server of a model that rates answers from 1 to 10')
    .option('--compare', 'have the judge compare the answers to a prompt by twos, in both orders')
    .option('--model <name>', 'the model to ask; default the one that the server serves');
  return withEndpointFlags(command)
    .addHelpText('after', KEY_HELP + examples(EXAMPLES))
    .action(async (options) => {
      const { score } = await import('../commands/score');
      finish(await score(options, terminal));
    });
}

const EXAMPLES = [
  'wpo score --answers answers.jsonl --rewards rewards.jsonl --out scored.jsonl',
  'wpo score --answers answers.jsonl gpt4.jsonl --endpoint http://localhost:8001 --api classify --out scored.jsonl',
  'wpo score --answers answers.jsonl --judge http://localhost:8002/v1 --compare --out scored.jsonl',
];
