import { printable } from '@wpo/internal/printable';
import { UserError } from '../errors';
import { wpoCommand } from '../invocation';
import { answerForKey, unknownKey } from './other-names';
import { runSchema, STAGE_NAMES, STAGES } from './run';
import { type CommandSchema, type Field, flagName, yamlKey } from './schema';

// Arguments as other programs write them, in the form that the commands of this program take.

/** The flags of a command, by the YAML form of their names. */
const flagsOf = ({ configFile, flags, fields }: CommandSchema): ReadonlyMap<string, Field> =>
  new Map(Object.entries(configFile ? flags : fields).map(([name, field]) => [yamlKey(name), field]));

/** The keys of a command's YAML file, `learning_rate` or, for `wpo run`, `train.learning_rate`; none without a file. */
function keysOf(schema: CommandSchema): ReadonlyMap<string, Field> {
  const keys = ({ fields }: CommandSchema) =>
    Object.entries(fields).map(([name, field]) => [yamlKey(name), field] as const);
  if (!schema.configFile) return new Map();
  if (schema.name !== runSchema.name) return new Map(keys(schema));
  const stages = STAGE_NAMES.flatMap((stage) =>
    keys(STAGES[stage].schema).map(([key, field]) => [`${stage}.${key}`, field] as const),
  );
  return new Map([...keys(schema), ...stages]);
}

/**
 * Rewrites the arguments of a command:
 * - `--max_length` is `--max-length`, and `--config run.yaml` is `run.yaml`;
 * - for a command with a YAML file, `--learning-rate 1e-5`, `--learning_rate=1e-5` and `learning_rate=1e-5` are `--set` with
 *   this key, `--clamp` and `--no-clamp` too.
 *
 * @throws {UserError} for an unknown flag, and for a key without a value
 */
export function rewriteArguments(schema: CommandSchema, args: readonly string[]): string[] {
  const [flags, keys] = [flagsOf(schema), keysOf(schema)];
  const rewritten: string[] = [];
  const queue = [...args];
  for (let arg = queue.shift(); arg !== undefined; arg = queue.shift()) {
    if (arg === '--') return [...rewritten, arg, ...queue];
    const [, dashes, written = '', value] = /^(--)?([\w.-]+)(?:=(.*))?$/s.exec(arg) ?? [];
    const name = written.replaceAll('-', '_');
    const [flag, key] = [flags.get(name), keys.get(name)];
    const switchedOff = name.startsWith('no_') && value === undefined ? keys.get(name.slice(3)) : undefined;
    if (dashes !== undefined && flag !== undefined) {
      if (flag.flag?.positional) rewritten.push(value ?? queue.shift() ?? '');
      else {
        rewritten.push(`--${name.replaceAll('_', '-')}${value === undefined ? '' : `=${value}`}`);
        // the value of a flag is not a flag, even if it begins with dashes
        if (value === undefined && flag.placeholder !== undefined && queue.length > 0) rewritten.push(queue.shift()!);
      }
    } else if (key !== undefined && (dashes !== undefined || value !== undefined)) {
      rewritten.push('--set', `--${name}=${textOf(key, value ?? takeValue(arg, key, queue))}`);
    } else if (dashes !== undefined && switchedOff?.json.type === 'boolean') {
      rewritten.push('--set', `--${name.slice(3)}=false`);
    } else if (dashes === undefined || name === 'help') {
      rewritten.push(arg);
    } else if (flags.get(name.replace(/^no_/, ''))?.default === true) {
      rewritten.push(`--${name.replaceAll('_', '-')}`);
    } else {
      throw new UserError(unknownFlag(`--${written}`, schema));
    }
  }
  return rewritten;
}

/** Takes a key's value from the arguments after it. */
function takeValue(arg: string, key: Field, queue: string[]): string {
  const [next] = queue;
  const isSwitch = key.json.type === 'boolean';
  if (next !== undefined && (isSwitch ? /^(true|false)$/i.test(next) : !next.startsWith('--'))) return queue.shift()!;
  if (isSwitch) return 'true';
  throw new UserError(`${arg}: expected ${key.expected}, found nothing. Write the value after it.`);
}

/** A value as YAML. Text needs no YAML syntax on the command line. */
const textOf = ({ json, choices }: Field, value: string) =>
  json.type === 'string' && choices === undefined ? JSON.stringify(value) : value;

/** The command that other programs, and other commands here, mean by a word. */
const COMMANDS: Readonly<Record<string, string>> = {
  train: 'dpo fit finetune fine-tune ft sft rlhf simpo orpo kto align learn launch',
  generate: 'chat infer inference predict complete answer prompt ask serve',
  sample: 'rollout generations',
  score: 'reward rate rm annotate',
  pair: 'pairs make-pairs binarize preferences',
  weigh: 'weight weights weighing',
  inspect: 'stats analyze analyse describe data dataset preprocess view info show',
  eval: 'evaluate evaluation test judge benchmark bench alpaca_eval compare',
  run: 'pipeline workflow all start',
  push: 'upload publish release share',
  doctor: 'check env version install setup diagnose',
};

/** The parser's message about flags in the form of all other messages: which flag, what was expected, what was found. */
export function describeUsageError(text: string): string {
  const form = (pattern: RegExp, message: string) => (pattern.test(text) ? text.replace(pattern, message) : undefined);
  return (
    form(
      /^error: option '(?:-\w, )?(--[\w-]+).*?' argument '(.*)' is invalid. Expected (.*)\.$/ms,
      '$1: expected $3, found "$2".',
    ) ??
    form(
      /^error: option '(?:-\w, )?(--[\w-]+).*?' argument '(.*)' is invalid. Allowed choices are (.*)\.$/ms,
      '$1: expected one of $3, found "$2".',
    ) ??
    form(
      /^error: command-argument value '(.*)' is invalid for argument '(.*)'. Expected (.*)\.$/ms,
      '$2: expected $3, found "$1".',
    ) ??
    form(/^error: option '(?:-\w, )?(--[\w-]+).*?' argument missing$/m, '$1: expected a value, found nothing.') ??
    form(/^error: required option '(?:-\w, )?(--[\w-]+) ?(.*)' not specified$/m, '$1: this flag is required: $1 $2') ??
    form(
      /^error: missing required argument 'config'$/m,
      'expected the path of a YAML file after the command, found nothing.',
    ) ??
    form(/^error: missing required argument '(.*)'$/m, 'expected $1 after the command, found nothing.') ??
    form(
      /^error: too many arguments for '(.*)'\. Expected (\d+) arguments? but got (\d+)(?:: .*)?\.?$/m,
      '$1: too many arguments: expected $2, found $3. Put a value that has spaces in quotes.',
    ) ??
    form(
      /^error: option '(--[\w-]+).*?' cannot be used with option '(--[\w-]+).*?'$/m,
      '$1: expected without $2, found both. Remove one of the two.',
    ) ??
    text.replace(/^error: /, '')
  );
}

/** The message for a command that does not exist. @param schemas all commands */
export function unknownCommand(name: string, schemas: readonly CommandSchema[]): string {
  const names = schemas.map((schema) => schema.name);
  const known = names.find((command) => COMMANDS[command]?.split(' ').includes(name.toLowerCase()));
  const answer = known ?? similarOf(answerForKey(name, names));
  const hint = answer === undefined ? '' : ` Did you mean "${wpoCommand()} ${answer}"?`;
  return `${printable(name, 60)}: unknown command. Expected one of ${names.join(', ')}.${hint}`;
}

const similarOf = (answer: ReturnType<typeof answerForKey>) =>
  answer !== undefined && 'similar' in answer ? answer.similar : undefined;

function unknownFlag(written: string, schema: CommandSchema): string {
  const own = [...flagsOf(schema)].filter(([, { flag }]) => !flag?.positional).map(([key]) => key);
  const keys = [...keysOf(schema).keys()];
  const inStage = keys.filter((key) => key.endsWith(`.${written.replace(/^-+/, '').replaceAll('-', '_')}`));
  if (inStage.length > 0) {
    return `${printable(written, 60)}: unknown flag. It is an option of a stage: write ${inStage.map((key) => `--${key}`).join(' or ')}.`;
  }
  const nameOf = (key: string) => (keys.includes(key) ? `--${key}` : flagName(key));
  return unknownKey(written, [...own, ...keys, 'help'], { kind: 'flag', command: schema.name, nameOf });
}
