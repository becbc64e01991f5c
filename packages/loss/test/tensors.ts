import * as tf from '@tensorflow/tfjs-core';
import { expect } from 'vitest';
import type { AnswerTokens } from '../src/index';

export const values = (tensor: tf.Tensor): number[] => Array.from(tensor.dataSync());

/** One answer: its tokens' log-probs and alignment terms. */
export interface Answer {
  logps: number[];
  logSumSquares: number[];
  logMax: number[];
}

/** Answers as a batch padded with `junk`, with `more` further columns of padding. */
export function answerBatch(answers: readonly Answer[], junk = 0, more = 0): Required<AnswerTokens> {
  const columns = Math.max(...answers.map(({ logps }) => logps.length)) + more;
  const padded = (field: keyof Answer) => matrix(answers.map((answer) => pad(answer[field], columns, junk)));
  const mask = matrix(answers.map(({ logps }) => pad(Array(logps.length).fill(1), columns, 0)));
  return { logps: padded('logps'), logSumSquares: padded('logSumSquares'), logMax: padded('logMax'), mask };
}

/** Tokens of probability p, each in a vocabulary with probabilities ps. */
export function answerOf(tokens: readonly { p: number; ps: readonly number[] }[]): Answer {
  return {
    logps: tokens.map(({ p }) => Math.log(p)),
    logSumSquares: tokens.map(({ ps }) => Math.log(ps.reduce((sum, q) => sum + q * q, 0))),
    logMax: tokens.map(({ ps }) => Math.log(Math.max(...ps))),
  };
}

export const matrix = (rows: readonly number[][]): tf.Tensor2D =>
  tf.tensor2d(rows.flat(), [rows.length, rows[0]!.length], 'float32');

function pad(row: readonly number[], columns: number, junk: number): number[] {
  return [...row, ...Array<number>(columns - row.length).fill(junk)];
}

/** The largest difference between two lists, 0 for equal infinities; NaN where they cannot be compared. */
export function maxDifference(found: readonly number[], expected: readonly number[]): number {
  if (found.length !== expected.length) return Number.NaN;
  return found.reduce(
    (worst, value, i) => Math.max(worst, value === expected[i] ? 0 : Math.abs(value - expected[i]!)),
    0,
  );
}

/** Asserts that numbers are within `bound` of the expected ones, relative to those above 1. */
export function close(found: readonly number[], expected: readonly number[], bound = 2e-5): void {
  expect(found).toHaveLength(expected.length);
  for (const [i, x] of found.entries()) {
    if (!(Math.abs(x - expected[i]!) <= bound * Math.max(1, Math.abs(expected[i]!)))) {
      throw new Error(`[${i}]: expected ${expected[i]}, found ${x}`);
    }
  }
}
