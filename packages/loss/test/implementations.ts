import * as tf from '@tensorflow/tfjs-core';
import * as tensor from '../src/index';
import type { LossType, MixtureOptions } from '../src/loss-table';
import * as scalar from '../src/scalar/index';

/** A batch in columns of plain numbers; lengths default to 1. */
export interface Columns {
  readonly chosenLogps: readonly number[];
  readonly rejectedLogps: readonly number[];
  readonly refChosenLogps: readonly number[];
  readonly refRejectedLogps: readonly number[];
  readonly chosenLengths?: readonly number[];
  readonly rejectedLengths?: readonly number[];
  readonly weights?: readonly number[];
  readonly kl?: number;
}

export type Numbers = Record<
  'losses' | 'unweightedLosses' | 'weights' | 'chosenRewards' | 'rejectedRewards' | 'margins',
  number[]
>;

type Implementation = (columns: Columns, options?: MixtureOptions) => Numbers;

const complete = ({ kl = 0, ...columns }: Columns) => {
  const ones = columns.chosenLogps.map(() => 1);
  return { kl, columns: { chosenLengths: ones, rejectedLengths: ones, ...columns } };
};

const overTensors: Implementation = (given, options) =>
  tf.tidy(() => {
    const { kl, columns } = complete(given);
    const input = Object.fromEntries(
      Object.entries(columns).flatMap(([name, xs]) => (xs ? [[name, tf.tensor1d([...xs], 'float32')]] : [])),
    );
    const result = tensor.preferenceLoss(
      { ...input, kl } as Parameters<typeof tensor.preferenceLoss<'kto', false>>[0],
      options as MixtureOptions<'kto'>,
    );
    return Object.fromEntries(Object.entries(result).map(([name, x]) => [name, [...x.dataSync()]])) as Numbers;
  });

const overNumbers: Implementation = (given, options) => {
  const { kl, columns } = complete(given);
  const result = scalar.preferenceLoss({ ...columns, kl }, options as MixtureOptions<'kto'>);
  return Object.fromEntries(Object.entries(result).map(([name, xs]) => [name, [...xs]])) as Numbers;
};

/** Both implementations of the losses, with one signature. */
export const IMPLEMENTATIONS: readonly (readonly [name: string, implementation: Implementation])[] = [
  ['tensors', overTensors],
  ['numbers', overNumbers],
];

/** The fewest options under which a loss is valid. */
export const optionsFor = (lossType: LossType): MixtureOptions =>
  lossType === 'exo_pair' ? { lossType, labelSmoothing: 0.1 } : { lossType };

export const isRanked = (lossType: LossType) => lossType.startsWith('aot');

/** A batch without weights. */
export const plain = ({ weights: _, ...columns }: Columns): Columns => columns;

export const ones = (columns: Columns) => repeated(columns, 1);

export const repeated = (columns: Columns, value: number) => columns.chosenLogps.map(() => value);
