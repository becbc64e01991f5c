import { expect, it } from 'vitest';
import { parseArguments } from '../../install/arguments.mjs';

it('reads a command with its options', () => {
  expect(parseArguments(['install', '--variant', 'gpu', '--cache', '/var/tf', '--quiet'])).toEqual({
    command: 'install',
    variant: 'gpu',
    cache: '/var/tf',
    quiet: true,
  });
  expect(parseArguments(['install', '--variant=cpu'])).toEqual({ command: 'install', variant: 'cpu', quiet: false });
  expect(parseArguments(['doctor'])).toEqual({ command: 'doctor', quiet: false });
});

it.each([[[]], [['help']], [['--help']], [['install', '-h']]])('shows help for %j', (args) => {
  expect(parseArguments(args).command).toBe('help');
});

it.each([
  [['instal'], 'There is no command "instal": install and doctor are.'],
  [['install', '--variant', 'tpu'], '--variant takes cpu or gpu, and got "tpu".'],
  [['install', 'gpu'], 'install takes options only, and got "gpu".'],
  [['install', '--cache='], '--cache takes a folder, and got nothing.'],
  [['install', '--version'], "Unknown option '--version'"],
])('says what is wrong with %j', (args, message) => {
  expect(() => parseArguments(args)).toThrow(message);
});
