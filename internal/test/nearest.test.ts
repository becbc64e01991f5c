import { expect, test } from 'vitest';
import { nearestName } from '../src/nearest';

const KEYS = ['beta', 'learning_rate', 'lr_scheduler_type', 'seed', 'num_train_epochs', 'output_dir', 'loss_type'];

test.each([
  ['learning_rte', 'learning_rate'],
  ['lerning_rate', 'learning_rate'],
  ['lr', 'lr_scheduler_type'],
  ['lr_scheduler', 'lr_scheduler_type'],
  ['epochs', 'num_train_epochs'],
  ['sede', 'seed'],
  ['bate', 'beta'],
  ['outputdir', 'output_dir'],
  ['losstype', 'loss_type'],
])('for %j the nearest name is %j', (name, expected) => {
  expect(nearestName(name, KEYS)).toBe(expected);
});

test('the first of equally near names is chosen', () => {
  expect(nearestName('c', ['a', 'b'])).toBe('a');
  expect(nearestName('', ['a', 'b'])).toBe('a');
});
