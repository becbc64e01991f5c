import { nearestName } from '@wpo/internal/nearest';
import { type Command, InvalidArgumentError, type Option } from 'commander';
import { describe, type Given } from './run-config';

/** What a command is given where a file has its options as keys. */
export interface StageOptions {
  /** By the names that the command's function takes, its defaults among them. */
  readonly values: Record<string, unknown>;
  /** A line each. */
  readonly problems: readonly string[];
}

/**
 * Reads a command's options from a block of YAML: `max_new_tokens: 512` is `--max-new-tokens 512`. Each value goes through
 * the option's own check, so that file and command line take the same.
 *
 * @param where what the block is, for what is missing, e.g. `run.yaml: sample`
 */
export function readOptions(command: Command, keys: ReadonlyMap<string, Given>, where: string): StageOptions {
  const options = new Map(command.options.map((option) => [keyOf(option), option]));
  const values: Record<string, unknown> = {};
  for (const option of command.options) {
    if (option.negate) values[option.attributeName()] = true;
    else if (option.defaultValue !== undefined) values[option.attributeName()] = option.defaultValue;
  }
  const problems: string[] = [];
  const stage = command.name();
  for (const [key, { value, at }] of keys) {
    const option = options.get(key.replaceAll('-', '_'));
    try {
      if (option === undefined) {
        throw new InvalidArgumentError(
          `there is no such key. The nearest is "${nearestName(key, [...options.keys()])}"; \`wpo ${stage} --help\` lists all.`,
        );
      }
      values[option.attributeName()] = readValue(option, value);
    } catch (error) {
      if (!(error instanceof InvalidArgumentError)) throw error;
      problems.push(`${at}${stage}.${key}: ${error.message}`);
    }
  }
  for (const option of command.options) {
    if (!option.mandatory || values[option.attributeName()] !== undefined) continue;
    problems.push(`${where}: ${keyOf(option)} is missing; wanted the ${option.description}.`);
  }
  return { values, problems };
}

/** `--max-new-tokens` as a key: `max_new_tokens`; `--no-clamp`: `clamp`. */
const keyOf = (option: Option) => option.attributeName().replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** @throws {InvalidArgumentError} saying what was found and what wanted */
function readValue(option: Option, value: unknown): unknown {
  const refuse: (wanted: string) => never = (wanted) => {
    throw new InvalidArgumentError(`found ${describe(value)}. ${wanted}`);
  };
  if (option.negate || option.isBoolean()) return typeof value === 'boolean' ? value : refuse('Wanted true or false.');
  if (option.variadic) {
    const items = [value].flat();
    return items.length > 0 && items.every(isWord) ? items.map(String) : refuse('Wanted a text or a list of them.');
  }
  const { parseArg } = option;
  try {
    if (isGroup(value)) {
      // a repeated field=column
      const pairs = Object.entries(value).map(([field, column]) => `${field}=${column}`);
      return parseArg === undefined
        ? refuse('Wanted a text.')
        : pairs.reduce<unknown>((all, pair) => parseArg(pair, all), undefined);
    }
    const items = [value].flat();
    if (!items.every(isWord)) refuse('Wanted a text or a number.');
    const text = items.join(',');
    return parseArg === undefined ? text : parseArg<unknown>(text, undefined);
  } catch (error) {
    if (error instanceof InvalidArgumentError && !error.message.startsWith('found')) refuse(error.message);
    throw error;
  }
}

const isWord = (value: unknown) => typeof value === 'string' || typeof value === 'number';
const isGroup = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
