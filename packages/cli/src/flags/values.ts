import { InvalidArgumentError, Option } from 'commander';

/** The end of a command's help. */
export const examples = (lines: readonly string[]) => `\nExamples:\n${lines.map((line) => `  ${line}\n`).join('')}`;

/** An option of a few words, the first of them its default. */
export const choice = (flags: string, description: string, words: readonly [string, ...string[]]) =>
  new Option(flags, description).choices(words).default(words[0]);

export const collect = (value: string, before: readonly string[] = []) => [...before, value];

export const number = (wanted: string, accepts: (n: number) => boolean) => (text: string) => {
  const found = Number(text);
  if (text.trim() !== '' && Number.isFinite(found) && accepts(found)) return found;
  throw new InvalidArgumentError(`Wanted a number, ${wanted}.`);
};

export const whole = (least: number) => number(`whole, ${least} or more`, (n) => Number.isSafeInteger(n) && n >= least);
