import { Command } from 'commander';
import type { Terminal } from '../terminal';
import { KEY_HELP, withEndpointFlags } from './endpoint';
import { choice, examples, number, whole } from './values';

/** `wpo eval`. Named apart, since `eval` is a function of the language. */
export function evaluation(terminal: Terminal, finish: (status: number) => void): Command {
  const command = new Command('eval')
    .summary('measure a model: win rates, or rewards of held-out pairs')
    .description(
      'Measures a model in one of three ways. --annotations: the rates of judgements that are there, in alpaca_eval’s ' +
        'layout. --baseline: has a judge compare answers of --model, or of --outputs, with a baseline’s, in both orders, ' +
        'and writes model_outputs.json, annotations.json and metrics.json; what was answered and judged is kept, and the ' +
        'same command goes on with the rest. --pairs: reward accuracy and margin of held-out pairs, and with --ref the KL ' +
        'from a reference.',
    )
    .option('--json', 'print numbers as JSON');
  addJudging(command);
  addPairs(command);
  return withEndpointFlags(command)
    .addHelpText('after', KEY_HELP + examples(EXAMPLES))
    .action(async (options) => {
      const { evaluate } = await import('../commands/eval');
      finish(await evaluate(options, terminal));
    });
}

function addJudging(command: Command): void {
  command
    .option('--annotations <file>', 'judged answers: instruction, output_1, output_2, preference, …')
    .option('--baseline <file>', 'the baseline’s answers: instruction, output, generator, dataset')
    .option('--model <dir>', 'the model that is measured')
    .option('--outputs <file>', 'its answers, instead of --model: such a file, or one of wpo sample')
    .option('--eval-set <file>', 'instructions for --model to answer; default the baseline’s')
    .option('--generator <name>', 'what the model is called; default its folder')
    .option('--judge <url>', 'an OpenAI-compatible server, as http://localhost:8000/v1')
    .option('--judge-model <name>', 'the model to ask there; default the one that it serves')
    .addOption(
      choice('--judge-form <form>', 'go by the log-probs of the judge’s first token, or by its words', [
        'logprobs',
        'verdict',
      ]),
    )
    .option('--judge-prompt <file>', 'another prompt: text with {instruction}, {output_1} (named m), {output_2} (M)')
    .option('--out <dir>', 'folder to write, or to go on with')
    .option(
      '--temperature <number>',
      'of the answers; 0 takes the likeliest token',
      number('0 or more', (n) => n >= 0),
      0.7,
    )
    .option(
      '--top-p <share>',
      'draw answers from the likeliest tokens up to this probability',
      number('above 0, at most 1', (n) => n > 0 && n <= 1),
      0.9,
    )
    .option('--max-new-tokens <tokens>', 'most tokens of an answer', whole(1), 2048)
    .option('--seed <number>', 'decides the draws', whole(0), 0)
    .option('--batch-size <answers>', 'answers written side by side', whole(1), 8);
}

function addPairs(command: Command): void {
  command
    .option('--pairs <file>', 'held-out preference pairs: JSONL, or a JSON array')
    .option('--ref <dir>', 'the reference; without it, rewards are those of log π alone')
    .option(
      '--beta <number>',
      'what a log-ratio is multiplied by',
      number('above 0', (n) => n > 0),
      0.1,
    )
    .option('--kl-prompts <count>', 'prompts to which the model draws two answers each, for the KL', whole(0), 16)
    .addOption(choice('--completion <format>', 'what belongs to an answer', ['paper', 'trl', 'turn']))
    .addOption(choice('--truncation <mode>', 'how long pairs are cut', ['paper', 'keep_start']))
    .option('--max-length <tokens>', 'most tokens of prompt and answer', whole(2), 2048)
    .option('--max-prompt-length <tokens>', 'most tokens of a cut prompt', whole(1), 1800)
    .addOption(choice('--on-bad-row <what>', 'what a row that cannot be used does', ['error', 'skip']));
}

const EXAMPLES = [
  'wpo eval --annotations annotations.json --json',
  'wpo eval --model runs/a/model --baseline gpt4_1106_preview.json --judge http://localhost:8000/v1 --out runs/a/eval',
  'wpo eval --model runs/a/model --ref models/gemma-2-2b-it --pairs heldout.jsonl',
];
