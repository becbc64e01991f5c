import { expect, test } from 'vitest';
import { parseFlags } from '../flags';

test('without flags, runs every measure on the pairs in bench/', () => {
  const flags = parseFlags([], '/repository');
  expect(flags.only).toEqual(['step', 'lora', 'reference', 'generate', 'load', 'data', 'memory']);
  expect(flags.long).toBe('/repository/bench/long-pairs.jsonl');
  expect(flags.rounds).toBe(2);
  expect(flags.memoryModel).toBeUndefined();
});

test('--memory-model does not change the model of the other measures', () => {
  const flags = parseFlags(['--memory-model', '/models/gemma'], '/repository');
  expect(flags).toMatchObject({ memoryModel: '/models/gemma', model: undefined });
});

test('accepts flags after a `--` that a package manager passes on', () => {
  const flags = parseFlags(['--', '--only', 'step,load', '--checkpointing', 'always', '--rounds', '1'], '/repository');
  expect(flags).toMatchObject({ only: ['step', 'load'], checkpointing: 'always', rounds: 1 });
});

test.each([
  [['--only', 'steps'], '--only: expected one of step, lora, reference, generate, load, data, memory, found steps'],
  [['--checkpointing', 'some'], '--checkpointing: expected one of auto, always, never, found some'],
  [['--preset', '3b'], '--preset: expected one of tiny, 159m, 2b-wide, 2b, 9b, 27b, found 3b'],
  [['--dtype', 'float16'], '--dtype: expected one of float32, bfloat16, found float16'],
  [['--gpu', '--only', 'step'], '--only: expected one of check, attention, lora-2b, generate-2b, lora-9b, found step'],
  [['--dry'], '--dry: expected --gpu with it, found none'],
  [['--rounds', '0'], '--rounds: expected a positive integer, found 0'],
])('rejects %j', (args, message) => {
  expect(() => parseFlags(args, '/repository')).toThrow(message);
});
