import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { version } from '../package.json';
import { isUserError } from './errors';
import { evaluation } from './flags/eval';
import { inspect } from './flags/inspect';
import { pair } from './flags/pair';
import { sample } from './flags/sample';
import { score } from './flags/score';
import { choice, collect, examples, number, whole } from './flags/values';
import { lossNames, unknownLosses } from './loss-config';
import { describeKeys } from './run-config';
import { columnsFlag } from './sources';
import type { Terminal } from './terminal';

/**
 * The command `wpo`.
 *
 * @param args without `node` and the script
 * @returns the exit status: 0; 1 for wrong input, told in one message; 130 or 143 for a run that a signal stopped
 */
export async function main(args: readonly string[], terminal: Terminal = process): Promise<number> {
  let status = 0;
  const program = wpo(terminal, (found) => {
    status = found;
  });
  try {
    await program.parseAsync(args, { from: 'user' });
    return status;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    terminal.stderr.write(`${tell(error)}\n`);
    return 1;
  }
}

/** A mistake in what the command was given is told by its message; anything else with its stack. */
function tell(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return isUserError(error) ? error.message : (error.stack ?? error.message);
}

/** All commands; each loads its own code, so that help and mistakes are told at once. */
function wpo(terminal: Terminal, finish: (status: number) => void): Command {
  const program = new Command('wpo')
    .description('Train Gemma-2 on weighted preferences (WPO), weigh preference pairs, generate, and make pairs.')
    .version(version)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void terminal.stdout.write(text),
      writeErr: (text) => void terminal.stderr.write(text),
    })
    .showHelpAfterError('Add --help for more.');

  program
    .command('train')
    .summary('train a model as a YAML file says')
    .description(
      'Trains a model on preference pairs as a YAML file says. output_dir then holds model/ (for transformers and for ' +
        'wpo generate), metrics.jsonl, checkpoint-STEP/ and config.yaml. Relative paths in the file start from its ' +
        'folder, those of --set from where you are.',
    )
    .argument('<config>', 'the run’s YAML file')
    .option('--set <key=value>', 'a key of the config, over the file’s; may be repeated', collect)
    .option('--resume', 'go on from the newest checkpoint in output_dir')
    .addHelpText('after', () => examples(TRAIN_EXAMPLES) + configKeys())
    .action(async (config: string, options: { set?: string[]; resume?: boolean }) => {
      const { train } = await import('./commands/train');
      finish(await train({ config, ...options }, terminal));
    });

  program
    .command('weigh')
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
    .addHelpText('after', examples(WEIGH_EXAMPLES))
    .action(async (options) => {
      const { weigh } = await import('./commands/weigh');
      finish(await weigh(options, terminal));
    });

  program
    .command('generate')
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
    .addHelpText('after', examples(GENERATE_EXAMPLES))
    .action(async (options) => {
      const { generate } = await import('./commands/generate');
      finish(await generate(options, terminal));
    });

  program.addCommand(sample(terminal, finish));
  program.addCommand(score(terminal, finish));
  program.addCommand(pair(terminal, finish));
  program.addCommand(inspect(terminal, finish));
  program.addCommand(evaluation(terminal, finish));

  program
    .command('doctor')
    .summary('say what this machine lacks')
    .description('Prints Node, TensorFlow, devices, threads and memory, and what is wrong with a mend for each.')
    .addHelpText('after', examples(['wpo doctor']))
    .action(async () => {
      const { doctor } = await import('./commands/doctor');
      finish(await doctor(terminal));
    });

  // commands that were made elsewhere have none of the settings above yet
  for (const command of program.commands) command.copyInheritedSettings(program);
  return program;
}

const TRAIN_EXAMPLES = [
  'wpo train recipes/demo.yaml',
  'wpo train run.yaml --set learning_rate=5e-7 --set output_dir=runs/slower',
  'wpo train run.yaml --resume',
];
const WEIGH_EXAMPLES = [
  'wpo weigh --model demo/model --pairs demo/data/eval.jsonl --out weights.jsonl',
  'wpo weigh --model runs/a/model --ref demo/model --pairs pairs.jsonl --out weights.jsonl --beta 0.01',
  'wpo weigh --model demo/model --pairs demo/data/eval.jsonl --out weights.jsonl --loss-type simpo --beta 2',
];
const GENERATE_EXAMPLES = [
  'wpo generate --model demo/model --prompt "What does a compiler do?"',
  'wpo generate --model demo/model --prompts prompts.jsonl --temperature 0.8 --top-p 0.95 --json',
];

function configKeys(): string {
  const width = Math.max(...describeKeys().map(({ key }) => key.length));
  const rows = describeKeys().map(({ key, default: value, meaning }) => {
    const note = value === 'required' ? ' (required)' : value === '' ? '' : ` (default ${value})`;
    return `  ${key.padEnd(width)}  ${meaning}${note}\n`;
  });
  return `\nKeys of the config:\n${rows.join('')}`;
}

const lossType = (name: string): string => {
  const [unknown] = unknownLosses({ loss_type: [name] });
  if (!unknown) return name;
  const [, problem] = unknown;
  throw new InvalidArgumentError(`${problem[0]!.toUpperCase()}${problem.slice(1)}`);
};
