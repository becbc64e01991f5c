import { chatSchema } from './chat';
import { completionSchema } from './completion';
import { doctorSchema } from './doctor';
import { evalSchema } from './eval';
import { exportSchema } from './export';
import { generateSchema } from './generate';
import { initSchema } from './init';
import { inspectSchema } from './inspect';
import { mergeSchema } from './merge';
import { pairSchema } from './pair';
import { planSchema } from './plan';
import { pushSchema } from './push';
import { reportSchema } from './report';
import { runSchema, STAGE_NAMES, STAGES, type StageSchema } from './run';
import { sampleSchema } from './sample';
import { type CommandSchema, type Field, type Fields, flagName, type JsonSchema, yamlKey } from './schema';
import { scoreSchema } from './score';
import { trainSchema } from './train';
import { weighSchema } from './weigh';
import { formatValue } from './yaml-config';

/** Every command. */
export const COMMANDS: readonly CommandSchema[] = [
  runSchema,
  sampleSchema,
  scoreSchema,
  pairSchema,
  inspectSchema,
  weighSchema,
  trainSchema,
  planSchema,
  reportSchema,
  evalSchema,
  exportSchema,
  generateSchema,
  chatSchema,
  mergeSchema,
  pushSchema,
  initSchema,
  completionSchema,
  doctorSchema,
];

const DRAFT = 'http://json-schema.org/draft-07/schema#';

/** The JSON Schema of the YAML file of `wpo train`. */
export const trainJsonSchema = (): JsonSchema => ({
  $schema: DRAFT,
  title: 'The YAML file of wpo train',
  ...objectSchema(trainSchema),
});

/** The JSON Schema of the YAML file of `wpo run`. */
export function runJsonSchema(): JsonSchema {
  const { properties, ...object } = objectSchema(runSchema);
  const stages = STAGE_NAMES.map((name) => [name, stageJsonSchema(STAGES[name])]);
  return {
    $schema: DRAFT,
    title: 'The YAML file of wpo run',
    ...object,
    properties: { ...(properties as JsonSchema), ...Object.fromEntries(stages) },
  };
}

function stageJsonSchema({ schema, output, input }: StageSchema): JsonSchema {
  const optional = [output.field, input?.field];
  return {
    description: `${capitalize(schema.summary)}: the options of wpo ${schema.name}.`,
    ...objectSchema(schema, (name) => !optional.includes(name)),
    type: ['object', 'null'], // `pair:` alone takes the defaults
  };
}

function objectSchema({ fields }: CommandSchema, isRequired: (name: string) => boolean = () => true): JsonSchema {
  const required = Object.keys(fields).filter((name) => fields[name]!.required && isRequired(name));
  return {
    type: 'object',
    properties: Object.fromEntries(Object.entries(fields).map(([name, field]) => [yamlKey(name), fieldSchema(field)])),
    ...(required.length === 0 ? {} : { required: required.map(yamlKey) }),
    additionalProperties: false,
  };
}

function fieldSchema({ json, help, choices = {}, default: value }: Field): JsonSchema {
  const meanings = Object.entries(choices).filter(([, meaning]) => meaning !== '');
  const description = [`${capitalize(help)}.`, ...meanings.map(([word, meaning]) => `${word}: ${meaning}.`)].join('\n');
  return { ...json, description, ...(value === undefined ? {} : { default: value }) };
}

/** `docs/cli.md`: every command with its flags and keys. */
export function referencePage(): string {
  return [
    '<!-- Written from packages/cli/src/schemas by `npm run reference`. Edit the schemas, not this file. -->',
    '# The command line',
    'Every command, flag and key of `wpo`. [packages/cli](../packages/cli/README.md) introduces the commands with examples.',
    markdownTable(
      ['command', 'purpose'],
      COMMANDS.map(({ name, summary }) => [`[\`wpo ${name}\`](#wpo-${name})`, summary]),
    ),
    ...COMMANDS.flatMap(commandSection),
  ]
    .join('\n\n')
    .concat('\n');
}

function commandSection(schema: CommandSchema): string[] {
  const { name, description, examples, notes = [], fields, flags, configFile, groups } = schema;
  const usage = usageOf(schema);
  return [
    `## wpo ${name}`,
    ...description,
    `\`\`\`sh\n${[usage, '', ...examples].join('\n')}\n\`\`\``,
    ...(configFile ? [fieldTable(flags, flagOf)] : []),
    ...(configFile ? [`### Keys of the YAML file of wpo ${name}`] : []),
    ...(groups === undefined
      ? [fieldTable(fields, configFile ? keyOf : flagOf)]
      : Object.entries(groups).flatMap(([title, names]) => [
          `**${title}**`,
          fieldTable(pick(fields, names), configFile ? keyOf : flagOf),
        ])),
    ...(name === 'run' ? [stageTable()] : []),
    ...notes,
  ].filter((part) => part !== '');
}

function usageOf({ name, fields, flags, configFile }: CommandSchema): string {
  const own: Fields = configFile ? flags : fields;
  const required = Object.entries(own).filter(([, field]) => field.required);
  const parts = required.map(([field, { flag, ...kind }]) =>
    flag?.positional
      ? `${field.toUpperCase()}${kind.variadic ? '…' : ''}`
      : `${flagName(field)} ${(flag?.placeholder ?? kind.placeholder ?? '').toUpperCase()}`,
  );
  return ['wpo', name, ...parts, ...(Object.keys(own).length > required.length ? ['[flags]'] : [])].join(' ');
}

const stageTable = () =>
  markdownTable(
    ['key', 'value', 'writes', 'reads by default'],
    STAGE_NAMES.map((name) => {
      const { output, input } = STAGES[name];
      const options =
        name === 'train' ? 'the [keys of `wpo train`](#wpo-train)' : `the options of [\`wpo ${name}\`](#wpo-${name})`;
      const reads = input === undefined ? '' : `\`${yamlKey(input.field)}\`: the output of \`${input.from}\``;
      return [`\`${name}\``, options, `\`${output.path}\``, reads];
    }),
  );

const pick = (fields: Fields, names: readonly string[]): Fields =>
  Object.fromEntries(names.map((name) => [name, fields[name]!]));

const keyOf = (name: string) => `\`${yamlKey(name)}\``;

function flagOf(name: string, { flag = {}, placeholder, optionalValue, variadic, default: value }: Field): string {
  if (flag.positional) return `\`${name.toUpperCase()}\``;
  const long = value === true ? flagName(name).replace('--', '--no-') : flagName(name);
  const argument =
    placeholder === undefined
      ? optionalValue === undefined
        ? ''
        : ` [${optionalValue.toUpperCase()}]`
      : ` ${(flag.placeholder ?? placeholder).toUpperCase()}${variadic ? '…' : ''}`;
  return `\`${flag.short === undefined ? '' : `${flag.short}, `}${long}${argument}\``;
}

function fieldTable(fields: Fields, nameOf: (name: string, field: Field) => string): string {
  const rows = Object.entries(fields).map(([name, field]) => {
    const { required, choices = {}, default: value, flag } = field;
    const isNegated = value === true && nameOf === flagOf;
    const words = Object.entries(choices).map(([word, meaning]) => `\`${word}\`${meaning && `: ${meaning}`}`);
    const separator = words.some((word) => word.endsWith('`')) ? ', ' : '; ';
    const meaning = `${isNegated ? (flag?.negatedHelp ?? field.help) : field.help}${words.length === 0 ? '' : `. ${separator === ', ' ? 'One of ' : ''}${words.join(separator)}`}`;
    const shown = required ? 'required' : value === undefined || isNegated ? '' : `\`${formatValue(value)}\``;
    return [nameOf(name, field), shown, meaning];
  });
  return rows.length === 0 ? '' : markdownTable([nameOf === keyOf ? 'key' : 'flag', 'default', 'meaning'], rows);
}

/** A table of Markdown. */
export function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [head, head.map(() => '---'), ...rows];
  return lines.map((cells) => `| ${cells.map(escapeCell).join(' | ')} |`).join('\n');
}

/** Escapes what would end a cell or, outside code, begin an HTML element. */
const escapeCell = (cell: string) =>
  cell.replaceAll('|', '\\|').replaceAll(/`[^`]*`|</g, (found) => (found === '<' ? '\\<' : found));

const capitalize = (text: string) => text[0]!.toUpperCase() + text.slice(1);
