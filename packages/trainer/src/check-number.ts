import { describeRange, isInRange } from '@wpo/internal/ranges';
import { TRAINING_RANGES } from '@wpo/internal/training-ranges';

/** The name of a number that configures training. */
export type NumberName = keyof typeof TRAINING_RANGES;

const INTEGERS: readonly NumberName[] = [
  'warmupSteps',
  'maxSteps',
  'batchSize',
  'gradientAccumulationSteps',
  'maxTokensPerPack',
  'loggingSteps',
  'evalSteps',
  'saveSteps',
  'skipNonfinite',
];

/** @throws RangeError where the number is outside its range, or has to be an integer and is none. */
export function checkNumber(name: NumberName, value: number, where = ''): void {
  const range = TRAINING_RANGES[name];
  const isInteger = INTEGERS.includes(name);
  if (isInRange(value, range) && (!isInteger || Number.isInteger(value))) return;
  const expected = `${isInteger ? 'an integer' : 'a number'}${describeRange(range)}`;
  throw new RangeError(`${where}${name}: expected ${expected}, found ${value}.`);
}
