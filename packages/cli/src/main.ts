import { isNativeError } from 'node:util/types';
import { isOutOfMemory } from '@wpo/internal/out-of-memory';
import { Command, CommanderError } from 'commander';
import { version } from '../package.json';
import { bugReport } from './bug-report';
import {
  describeOutOfMemory,
  describeSystemError,
  InterruptedError,
  isSystemError,
  isUserError,
  UserError,
} from './errors';
import { launched } from './launched';
import { describeUsageError, rewriteArguments, unknownCommand } from './schemas/arguments';
import { chatSchema } from './schemas/chat';
import { completionSchema } from './schemas/completion';
import { doctorSchema } from './schemas/doctor';
import { evalSchema } from './schemas/eval';
import { exportSchema } from './schemas/export';
import { createCommand } from './schemas/flags';
import { generateSchema } from './schemas/generate';
import { initSchema } from './schemas/init';
import { inspectSchema } from './schemas/inspect';
import { mergeSchema } from './schemas/merge';
import { pairSchema } from './schemas/pair';
import { planSchema } from './schemas/plan';
import { pushSchema } from './schemas/push';
import { COMMANDS } from './schemas/reference';
import { reportSchema } from './schemas/report';
import { runSchema } from './schemas/run';
import { sampleSchema } from './schemas/sample';
import { scoreSchema } from './schemas/score';
import { readTrainConfig, trainSchema } from './schemas/train';
import { weighSchema } from './schemas/weigh';
import { processTerminal, screenOf, type Terminal } from './terminal/terminal';

/**
 * Runs the command line of `wpo`.
 *
 * @param args the arguments after `wpo`
 * @returns the exit status: 0; 1 for wrong input, after a message; 130 or 143 if a signal stopped the run
 */
export async function main(args: readonly string[], terminal: Terminal = processTerminal()): Promise<number> {
  const [command = '', ...rest] = args;
  const schema = COMMANDS.find(({ name }) => name === command);
  const hasEvents = schema !== undefined && 'json' in schema.flags && rest.includes('--json');
  const screen = hasEvents ? screenOf(terminal).withJsonEvents() : screenOf(terminal);
  let status = 0;
  const program = createProgram(args, screen, (result) => {
    status = result;
  });
  try {
    if (command === 'complete') {
      const { completionLines } = await import('./completion/complete');
      screen.stdout.write(completionLines(rest));
      return 0;
    }
    if (schema === undefined && /^\w/.test(command) && command !== 'help') {
      throw new UserError(unknownCommand(command, COMMANDS));
    }
    const launch = schema === undefined || DIVIDED.includes(schema.name) ? undefined : await launched();
    if (launch !== undefined && launch.rank > 0) return 1; // rank 0 has the message
    if (launch !== undefined) {
      throw new UserError(
        `wpo ${command}: expected one process, found ${launch.size} that mpirun has started. Only wpo train and wpo weigh ` +
          'divide their work among processes: run this command without mpirun.',
      );
    }
    const given = schema === undefined ? args : [command, ...rewriteArguments(schema, rest)];
    await program.parseAsync(given, { from: 'user' });
    screen.onEvent?.({ type: 'end', status });
    return status;
  } catch (error) {
    if (isNativeError(error) && error instanceof CommanderError) {
      const { message, exitCode } = error;
      if (exitCode === 0) screen.onEvent?.({ type: 'end', status: 0 });
      else screen.onEvent?.({ type: 'error', message: describeUsageError(message), status: exitCode });
      return exitCode;
    }
    const found = formatError(error, args);
    const message = schema?.configFile === false ? withFlags(found) : found;
    screen.printError(message);
    status = isNativeError(error) && error instanceof InterruptedError ? error.status : 1;
    screen.onEvent?.({ type: 'error', message, status });
    return status;
  }
}

/** Commands that divide their work among the processes that `mpirun` starts. */
const DIVIDED: readonly string[] = [trainSchema.name, weighSchema.name];

/** A mistake in the input, or an error of the system, as its message; anything else as a request to report it. */
function formatError(error: unknown, args: readonly string[]): string {
  if (!isNativeError(error)) return bugReport(error, args);
  if (isUserError(error)) return error.message;
  if (isSystemError(error)) return describeSystemError(error);
  return isOutOfMemory(error) ? describeOutOfMemory(error) : bugReport(error, args);
}

/** The libraries name YAML keys in their hints; a command without a YAML file has flags. */
const withFlags = (message: string): string =>
  message.replace(/\bcolumns: \{(.*?)\}/g, (_, list: string) =>
    list
      .split(', ')
      .map((column) => `--columns ${column.replace(': ', '=')}`)
      .join(' '),
  );

/** Creates all commands. @param args those of this process. Each command imports its code when it runs, so that help and mistakes in flags are printed at once. */
function createProgram(args: readonly string[], terminal: Terminal, finish: (status: number) => void): Command {
  const program = new Command('wpo')
    .description(
      'Trains Gemma-2 on preference pairs with Weighted Preference Optimization (WPO), and makes, inspects, weighs and ' +
        'evaluates such pairs.',
    )
    .version(version)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void terminal.stdout.write(text),
      writeErr: (text) => void terminal.stderr.write(text),
      outputError: (text, write) => write(describeUsageError(text)),
    })
    .showSuggestionAfterError(false)
    .showHelpAfterError('Add --help for more.');

  const commands = [
    createCommand(trainSchema, async ({ config: file, set, resume, watch, nproc }) => {
      if (nproc !== undefined) {
        const { launchProcesses } = await import('./launch');
        return finish(await launchProcesses(nproc, args));
      }
      const { withProcesses } = await import('./processes');
      const status = await withProcesses(terminal, async (processes, terminal) => {
        const config = await readTrainConfig(file, set, (line) => void terminal.stderr.write(`${line}\n`));
        const { train } = await import('./commands/train');
        return train(config, { resume, watch, processes }, terminal);
      });
      finish(status);
    }),
    createCommand(planSchema, async (config) => {
      const { plan } = await import('./commands/plan');
      finish(await plan(config, terminal));
    }),
    createCommand(reportSchema, async (config) => {
      const { report } = await import('./commands/report');
      finish(await report(config, terminal));
    }),
    createCommand(weighSchema, async (config) => {
      const { withProcesses } = await import('./processes');
      const { weigh } = await import('./commands/weigh');
      finish(await withProcesses(terminal, (processes, terminal) => weigh(config, terminal, processes)));
    }),
    createCommand(generateSchema, async (config) => {
      const { generate } = await import('./commands/generate');
      finish(await generate(config, terminal));
    }),
    createCommand(chatSchema, async (config) => {
      const { chat } = await import('./commands/chat');
      finish(await chat(config, terminal));
    }),
    createCommand(exportSchema, async (config) => {
      const { exportModel } = await import('./commands/export');
      finish(await exportModel(config, terminal));
    }),
    createCommand(pushSchema, async (config) => {
      const { push } = await import('./commands/push');
      finish(await push(config, terminal));
    }),
    createCommand(initSchema, async (config) => {
      const { init } = await import('./commands/init');
      finish(await init(config, terminal));
    }),
    createCommand(mergeSchema, async (config) => {
      const { merge } = await import('./commands/merge');
      finish(await merge(config, terminal));
    }),
    createCommand(sampleSchema, async (config) => {
      const { sample } = await import('./commands/sample');
      finish(await sample(config, terminal));
    }),
    createCommand(scoreSchema, async (config) => {
      const { score } = await import('./commands/score');
      finish(await score(config, terminal));
    }),
    createCommand(pairSchema, async (config) => {
      const { pair } = await import('./commands/pair');
      finish(await pair(config, terminal));
    }),
    createCommand(inspectSchema, async (config) => {
      const { inspect } = await import('./commands/inspect');
      finish(await inspect(config, terminal));
    }),
    createCommand(evalSchema, async (config) => {
      const { evaluate } = await import('./commands/eval');
      finish(await evaluate(config, terminal));
    }),
    createCommand(runSchema, async (options) => {
      const { run } = await import('./commands/run');
      finish(await run(options, terminal));
    }),
    createCommand(completionSchema, async ({ shell }) => {
      const { SCRIPTS } = await import('./completion/scripts');
      terminal.stdout.write(SCRIPTS[shell]);
    }),
    createCommand(doctorSchema, async () => {
      const { doctor } = await import('./commands/doctor');
      finish(await doctor(terminal));
    }),
  ];
  for (const command of commands) program.addCommand(command.copyInheritedSettings(program));
  return program;
}
