import { UserError } from '../errors';
import { completionSchema } from '../schemas/completion';
import { COMMANDS } from '../schemas/reference';
import { type CommandSchema, type Field, type Fields, flagName, yamlKey } from '../schemas/schema';

/** A word that may come next, and what it means. */
export interface Completion {
  readonly word: string;
  readonly description: string;
}

export interface Completions {
  readonly words: readonly Completion[];
  /** Whether the name of a file or folder may come next. */
  readonly files: boolean;
}

const NOTHING: Completions = { words: [], files: false };
const FILES: Completions = { words: [], files: true };

/**
 * Completes a command line.
 *
 * @param words the words after `wpo`; the last is the one being typed, which may be empty
 */
export function complete(words: readonly string[]): Completions {
  const typed = words.at(-1) ?? '';
  const { words: found, files } = candidates(words.slice(0, -1), typed);
  return { words: found.filter(({ word }) => word.startsWith(typed) && word !== typed), files };
}

function candidates(before: readonly string[], typed: string): Completions {
  if (before.length === 0) {
    const commands = COMMANDS.map(({ name, summary }) => ({ word: name, description: summary }));
    return { words: typed.startsWith('-') ? [...VERSION, ...HELP] : commands, files: false };
  }
  const schema = COMMANDS.find(({ name }) => name === before[0]);
  if (schema === undefined) return NOTHING;
  const fields: Fields = schema.configFile ? schema.flags : schema.fields;
  const equals = typed.indexOf('=');
  if (typed.startsWith('--') && equals > 0) {
    const field = fieldOf(fields, typed.slice(0, equals));
    return field ? withPrefix(typed.slice(0, equals + 1), valuesOf(schema, field, typed.slice(equals + 1))) : NOTHING;
  }
  const given = openFlag(fields, before);
  if (given) return valuesOf(schema, given, typed);
  if (typed.startsWith('-')) return { words: [...flagsOf(fields, before), ...HELP], files: false };
  const positional = Object.values(fields).filter(({ flag }) => flag?.positional);
  const [next] = positional.slice(positionals(fields, before));
  return next ? valuesOf(schema, next, typed) : { words: flagsOf(fields, before), files: false };
}

const HELP = [{ word: '--help', description: 'display help' }];
const VERSION = [{ word: '--version', description: 'print the version' }];

const isFlag = (word: string) => word.startsWith('-') && word.length > 1;

const fieldOf = (fields: Fields, flag: string): Field | undefined =>
  Object.entries(fields).find(([name, field]) => flagOf(name, field) === flag || field.flag?.short === flag)?.[1];

/** The flag of a switch that is on by default turns it off. */
const flagOf = (name: string, field: Field) =>
  field.default === true ? flagName(name).replace('--', '--no-') : flagName(name);

/** The field whose value comes next: that of the last word, or of the last flag if it takes several values. */
function openFlag(fields: Fields, words: readonly string[]): Field | undefined {
  const last = words.findLastIndex(isFlag);
  if (last < 0 || words[last]!.includes('=')) return undefined;
  const field = fieldOf(fields, words[last]!);
  const values = words.length - 1 - last;
  return field?.placeholder !== undefined && (values === 0 || field.variadic) ? field : undefined;
}

/** The number of positional arguments in a command line. */
function positionals(fields: Fields, [, ...words]: readonly string[]): number {
  let count = 0;
  for (let i = 0; i < words.length; i++) {
    if (!isFlag(words[i]!)) count++;
    else if (!words[i]!.includes('=') && fieldOf(fields, words[i]!)?.placeholder !== undefined) i++;
  }
  return count;
}

/** The flags that can still be given. */
const flagsOf = (fields: Fields, words: readonly string[]): Completion[] =>
  Object.entries(fields)
    .filter(([name, field]) => !field.flag?.positional && (repeats(field) || !words.includes(flagOf(name, field))))
    .map(([name, field]) => ({ word: flagOf(name, field), description: field.help }));

/** `--set` and flags of lists may be given again. */
const repeats = ({ variadic, json: { type } }: Field) => variadic || type === 'array';

function valuesOf(schema: CommandSchema, field: Field, typed: string): Completions {
  if (field.choices) return { words: choicesOf(field), files: false };
  if (schema.configFile && field === (schema.flags as Fields).set) return settingsOf(schema.fields, typed);
  return field.location === undefined || field.location === 'server' ? NOTHING : FILES;
}

const choicesOf = ({ choices = {} }: Field): Completion[] =>
  Object.entries(choices).map(([word, description]) => ({ word, description }));

/** `key=value` for a key of the YAML file. */
function settingsOf(fields: Fields, typed: string): Completions {
  const equals = typed.indexOf('=');
  if (equals < 0) {
    const words = Object.entries(fields).map(([name, { help }]) => ({ word: `${yamlKey(name)}=`, description: help }));
    return { words, files: false };
  }
  const field = Object.entries(fields).find(([name]) => yamlKey(name) === typed.slice(0, equals))?.[1];
  if (!field) return NOTHING;
  const switches = ['true', 'false'].map((word) => ({ word, description: '' }));
  const words = field.json.type === 'boolean' ? switches : choicesOf(field);
  return withPrefix(typed.slice(0, equals + 1), { words, files: field.location !== undefined });
}

const withPrefix = (prefix: string, { words, files }: Completions): Completions => ({
  words: words.map(({ word, description }) => ({ word: prefix + word, description })),
  files,
});

/** The line that tells the scripts to complete the names of files. */
const FILES_LINE = ':files';

/**
 * What the hidden command `wpo complete SHELL -- WORDS…` prints: a line for each completion, with its description after a tab, and
 * `:files` where the name of a file may come next.
 *
 * @throws {UserError} for words that no script passes
 */
export function completionLines([shell, separator, ...words]: readonly string[]): string {
  if (separator !== '--' || !(shell! in (completionSchema.fields.shell.choices ?? {}))) {
    throw new UserError(
      'complete: expected the name of a shell, -- and the words of a command line. Scripts call this command.',
    );
  }
  // bash takes = as a word of its own, and completes what is after it
  const joined = shell === 'bash' ? joinAtEquals(words) : words;
  const { words: found, files } = complete(joined);
  const skipped = shell === 'bash' ? (joined.at(-1) ?? '').lastIndexOf('=') + 1 : 0;
  const lines = found.map(({ word, description }) => `${word.slice(skipped)}\t${description.replaceAll(/\s+/g, ' ')}`);
  return [...lines, ...(files ? [FILES_LINE] : [])].map((line) => `${line}\n`).join('');
}

function joinAtEquals(words: readonly string[]): string[] {
  const joined: string[] = [];
  for (const [i, word] of words.entries()) {
    if (i > 0 && (word === '=' || words[i - 1] === '=')) joined.push(joined.pop()! + word);
    else joined.push(word);
  }
  return joined;
}
