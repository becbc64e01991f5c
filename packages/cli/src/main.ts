import { Command, CommanderError } from 'commander';
import { version } from '../package.json';
import { isUserError } from './errors';
import { doctor } from './flags/doctor';
import { evaluation } from './flags/eval';
import { generate } from './flags/generate';
import { inspect } from './flags/inspect';
import { pair } from './flags/pair';
import { run } from './flags/run';
import { sample } from './flags/sample';
import { score } from './flags/score';
import { train } from './flags/train';
import { weigh } from './flags/weigh';
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

  const commands = [train, weigh, generate, sample, score, pair, inspect, evaluation, run, doctor];
  for (const command of commands) program.addCommand(command(terminal, finish).copyInheritedSettings(program));
  return program;
}
