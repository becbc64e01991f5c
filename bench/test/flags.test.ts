import { expect, test } from 'vitest';
import { parseFlags } from '../flags';

test('without flags everything is measured, with the pairs that lie here', () => {
  const flags = parseFlags([], '/repository');
  expect(flags.only).toEqual(['step', 'reference', 'generate', 'load', 'data', 'memory']);
  expect(flags.long).toBe('/repository/bench/long-pairs.jsonl');
  expect(flags.rounds).toBe(2);
  expect(flags.memoryModel).toBeUndefined();
});

test('a model for the long run is one of its own', () => {
  const flags = parseFlags(['--memory-model', '/models/gemma'], '/repository');
  expect(flags).toMatchObject({ memoryModel: '/models/gemma', model: undefined });
});

test('takes flags after the two dashes that package managers hand on', () => {
  const flags = parseFlags(['--', '--only', 'step,load', '--checkpointing', 'always', '--rounds', '1'], '/repository');
  expect(flags).toMatchObject({ only: ['step', 'load'], checkpointing: 'always', rounds: 1 });
});

test.each([
  [['--only', 'steps'], '--only: found steps, wanted step, reference, generate, load, data, memory'],
  [['--checkpointing', 'some'], '--checkpointing: found some, wanted auto, always, never'],
  [['--rounds', '0'], '--rounds: found 0, wanted a whole number'],
])('says what is wrong with %j', (args, message) => {
  expect(() => parseFlags(args, '/repository')).toThrow(message);
});
