import '@tensorflow/tfjs';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ldLogps, sumLogps } from '../src/index';
import * as scalar from '../src/scalar/index';
import { pairs } from './arbitraries';
import { answerBatch, values } from './tensors';

describe('length desensitising', () => {
  it('is the plain sum with α 1, and for answers of one length with any α', () => {
    fc.assert(
      fc.property(pairs, fc.double({ min: 0, max: 1, noNaN: true }), (drawn, alpha) => {
        const chosen = answerBatch(drawn.map((pair) => pair.chosen));
        const rejected = answerBatch(drawn.map((pair) => pair.rejected));
        const whole = ldLogps({ chosen, rejected }, 1);
        expect(values(whole.chosen)).toEqual(values(sumLogps(chosen)));
        expect(values(whole.rejected)).toEqual(values(sumLogps(rejected)));
        expect(values(ldLogps({ chosen, rejected: chosen }, alpha).chosen)).toEqual(values(sumLogps(chosen)));
      }),
      { numRuns: 30 },
    );
  });

  it('counts the longer answer’s further tokens α times, and none of them with α 0', () => {
    // −1 − 2 + ½ (−4) = −5; of one token −8
    const pair = { chosen: { logps: [-1, -2, -4] }, rejected: { logps: [-8, -16] } };
    expect(scalar.ldLogps(pair, 0.5)).toEqual({ chosen: -5, rejected: -24 });
    expect(scalar.ldLogps(pair, 0)).toEqual({ chosen: -3, rejected: -24 });
    const out = { chosen: { logps: [-1, Number.NEGATIVE_INFINITY] }, rejected: { logps: [-1] } };
    expect(scalar.ldLogps(out, 0)).toEqual({ chosen: -1, rejected: -1 });
    const zeros = { logSumSquares: [0, 0], logMax: [0, 0] };
    const tensors = {
      chosen: answerBatch([{ ...zeros, logps: out.chosen.logps }]),
      rejected: answerBatch([{ logSumSquares: [0], logMax: [0], logps: [-1] }]),
    };
    expect(values(ldLogps(tensors, 0).chosen)).toEqual([-1]);
  });

  it('takes an answer’s tokens in their order, wherever its padding is', () => {
    const mask = tf.tensor2d([[0, 1, 1, 1]]);
    const chosen = { logps: tf.tensor2d([[Number.NaN, -1, -2, -4]]), mask };
    const rejected = { logps: tf.tensor2d([[-8]]), mask: tf.ones([1, 1]) };
    expect(values(ldLogps({ chosen, rejected }, 0.5).chosen)).toEqual([-4]);
  });

  it('leaves no tensor behind but its results', () => {
    const answers = answerBatch([{ logps: [-1, -2], logSumSquares: [0, 0], logMax: [0, 0] }]);
    const before = tf.memory().numTensors;
    tf.dispose(ldLogps({ chosen: answers, rejected: answers }, 0.5));
    expect(tf.memory().numTensors).toBe(before);
  });
});
