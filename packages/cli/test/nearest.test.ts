import { expect, test } from 'vitest';
import { nearestName } from '../src/nearest';

const KEYS = [
  'beta',
  'kl',
  'learning_rate',
  'lr_scheduler_type',
  'seed',
  'num_train_epochs',
  'max_length',
  'train_file',
];

test.each([
  ['learning_rte', 'learning_rate'],
  ['lerning_rate', 'learning_rate'],
  ['lr_scheduler_tpye', 'lr_scheduler_type'],
  ['sede', 'seed'],
  ['seeds', 'seed'],
  ['beat', 'beta'],
  ['maxlength', 'max_length'],
  ['length_max', 'max_length'],
  ['trainfile', 'train_file'],
  ['train', 'train_file'],
])('for %j the nearest name is %j', (name, expected) => {
  expect(nearestName(name, KEYS)).toBe(expected);
});

test.each(['l', 'k', '', 'batch_size', 'report_to', 'use_peft', 'optimizer', 'x'.repeat(100_000)])(
  'nothing is near to %.20j',
  (name) => {
    expect(nearestName(name, KEYS)).toBeUndefined();
  },
);

test('the first of equally near names is chosen', () => {
  expect(nearestName('bet', ['bat', 'let'])).toBe('bat');
});
