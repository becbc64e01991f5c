import { Argument, Command, InvalidArgumentError, Option } from 'commander';
import * as v from 'valibot';
import { UserError } from '../errors';
import { wpoCommand } from '../invocation';
import { type CommandSchema, type Field, type Fields, flagName, type Parsed, yamlKey } from './schema';
import { adaptDefaults, describeProblem, formatValue } from './yaml-config';

/**
 * A command with the flags and the help of its schema.
 *
 * @param run receives the values of the command line, and the defaults of all other fields
 */
export function createCommand<F extends Fields, A extends Fields, FromFile extends boolean>(
  schema: CommandSchema<F, A, FromFile>,
  run: (values: FromFile extends true ? Parsed<A> : Parsed<F>) => Promise<void>,
): Command {
  const command = new Command(schema.name).summary(schema.summary).description(schema.description.join('\n\n'));
  const fields: Fields = schema.configFile ? schema.flags : schema.fields;
  const positional = Object.entries(fields).filter(([, field]) => field.flag?.positional);
  for (const [name, field] of positional) {
    const parse = (text: string, before: unknown) => parseFlag(name, field, text, before);
    command.addArgument(new Argument(`<${name}${field.variadic ? '...' : ''}>`, field.help).argParser(parse));
  }
  for (const [name, field] of Object.entries(fields)) {
    if (!field.flag?.positional) command.addOption(optionOf(name, field, groupOf(schema, name)));
  }
  return command
    .addHelpText('after', (context) => helpEnd(schema, context.command))
    .action(async (...given: unknown[]) => {
      const names = positional.map(([name], i) => [name, given[i]]);
      const values = { ...command.opts<Record<string, unknown>>(), ...Object.fromEntries(names) };
      adaptDefaults(fields, values, (name) => command.getOptionValueSource(name) === 'cli');
      await run(values as Parameters<typeof run>[0]);
    });
}

/**
 * Checks that the values of flags do not contradict each other.
 *
 * @throws {UserError} naming the flags
 */
export function checkFlags<F extends Fields>(schema: CommandSchema<F>, config: Parsed<F>): void {
  const problems = schema.check?.(config, flagName) ?? [];
  if (problems.length > 0) throw new UserError(problems.map((one) => describeProblem(one, flagName)).join('\n'));
}

function optionOf(name: string, field: Field, group: string | undefined): Option {
  const { flag = {}, help, placeholder, optionalValue, variadic, choices, required } = field;
  const isOn = field.default === true; // a switch that is on by default has the flag that turns it off
  const long = isOn ? flagName(name).replace('--', '--no-') : flagName(name);
  const value = placeholder
    ? ` <${flag.placeholder ?? placeholder}${variadic ? '...' : ''}>`
    : optionalValue && ` [${optionalValue}]`;
  const option = new Option(
    `${flag.short ? `${flag.short}, ` : ''}${long}${value ?? ''}`,
    isOn ? (flag.negatedHelp ?? help) : help,
  );
  if (choices) option.choices(Object.keys(choices));
  if (value) option.argParser((text, before) => parseFlag(name, field, text, before));
  if (field.default !== undefined && !isOn) {
    option.default(field.default, typeof field.default === 'string' ? undefined : formatValue(field.default));
  }
  if (flag.conflicts) option.conflicts([...flag.conflicts]);
  if (group !== undefined) option.helpGroup(`${group}:`);
  return option.makeOptionMandatory(required === true);
}

function parseFlag(name: string, field: Field, text: string, before: unknown): unknown {
  const result = v.safeParse(field.schema, field.fromText(text, before));
  if (result.success) return result.output;
  // the message of an InvalidArgumentError would quote the value
  if (field.isSecret) throw new UserError(`${flagName(name)}: expected ${field.expected}, found another text.`);
  throw new InvalidArgumentError(`Expected ${field.expected}.`);
}

const groupOf = ({ groups = {} }: CommandSchema, name: string) =>
  Object.entries(groups).find(([, names]) => names.includes(name))?.[0];

function helpEnd(schema: CommandSchema, command: Command): string {
  const examples = `Examples:\n${schema.examples.map((line) => `  ${line.replace(/^wpo/, wpoCommand())}\n`).join('')}`;
  const parts = [examples, ...(schema.configFile ? keyHelp(schema, command) : []), ...(schema.notes ?? [])];
  return parts.map((part) => `\n${part.trimEnd()}\n`).join('');
}

/** The keys of the command's YAML file, a paragraph for each group. */
function keyHelp({ fields, groups = { Keys: Object.keys(fields) } }: CommandSchema, command: Command): string[] {
  const helper = command.createHelp();
  helper.prepareContext({ helpWidth: process.stdout.columns });
  const width = Math.max(...Object.keys(fields).map((name) => yamlKey(name).length));
  return Object.entries(groups).map(([group, names]) => {
    const lines = names.map((name) => helper.formatItem(yamlKey(name), width, keyText(fields[name]!), helper));
    return `${group} (keys of the YAML file):\n${lines.join('\n')}`;
  });
}

function keyText({ help, choices, required, default: value }: Field): string {
  const notes = [
    ...(choices ? [`choices: ${Object.keys(choices).join(', ')}`] : []),
    ...(required ? ['required'] : []),
    ...(value === undefined ? [] : [`default: ${formatValue(value)}`]),
  ];
  return notes.length === 0 ? help : `${help} (${notes.join('; ')})`;
}
