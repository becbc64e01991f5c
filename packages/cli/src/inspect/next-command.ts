import { shellWord, wpoCommand } from '../invocation';
import type { InspectConfig } from '../schemas/inspect';

/** The command that inspects a file further, or writes the YAML file of a run that trains on it. */
export function nextCommand({ file, model, tokenizer, split, columns = {} }: InspectConfig): string {
  const reading = [
    ...(split === undefined ? [] : ['--split', split]),
    ...Object.entries(columns).flatMap(([field, column]) => ['--columns', `${field}=${column}`]),
  ];
  const measuredBy = model ?? tokenizer;
  return measuredBy === undefined
    ? `${command('inspect', file, ...reading, '--tokenizer', 'MODEL')}, to see lengths in tokens and what the limits cut`
    : `${command('init', '--model', measuredBy, '--data', file, ...reading, '--out', 'run.yaml')}, to write the YAML file of a run`;
}

/** The command that plans a run. */
export const planCommand = ({ file, set }: Pick<InspectConfig, 'file' | 'set'>): string =>
  command('plan', file, ...(set ?? []).flatMap((setting) => ['--set', setting]));

const command = (...args: readonly string[]) => `${wpoCommand()} ${args.map(shellWord).join(' ')}`;
