import { expect, it } from 'vitest';
import { parseArguments } from '../../install/main.mjs';

it('parses a command with its options', () => {
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
  [['instal'], 'Unknown command: expected install or doctor, found "instal".'],
  [['install', '--variant', 'tpu'], '--variant: expected cpu or gpu, found "tpu".'],
  [['install', 'gpu'], 'install: expected only options, found "gpu".'],
  [['install', '--cache='], '--cache: expected a folder, found nothing.'],
  [['install', '--version'], "Unknown option '--version'"],
])('refuses %j', (args, message) => {
  expect(() => parseArguments(args)).toThrow(message);
});
