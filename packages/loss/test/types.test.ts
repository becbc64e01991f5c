import * as tf from '@tensorflow/tfjs-core';
import { expect, expectTypeOf, it } from 'vitest';
import * as tensor from '../src/index';
import * as scalar from '../src/scalar/index';

// The compiler tests what the types reject: an @ts-expect-error without an error is itself an error.

/** Never called: it is only compiled. */
function compiled() {
  const x = tf.tensor1d([-1]);
  const policy = { chosenLogps: x, rejectedLogps: x };
  const both = { ...policy, refChosenLogps: x, refRejectedLogps: x };
  const lengths = { chosenLengths: x, rejectedLengths: x };

  tensor.dpoLoss(both);
  tensor.dpoLoss(policy, { refFree: true });
  tensor.dpoLoss(
    { ...both, weights: x },
    { beta: 0.1, labelSmoothing: 0.1, fDivergenceType: 'js_divergence', attached: true },
  );
  // @ts-expect-error a missing reference
  tensor.dpoLoss(policy);
  // @ts-expect-error a missing reference with refFree false
  tensor.dpoLoss(policy, { refFree: false });
  // @ts-expect-error half a reference
  tensor.dpoLoss({ ...policy, refChosenLogps: x });
  // @ts-expect-error TRL’s name in snake case
  tensor.dpoLoss(both, { label_smoothing: 0.1 });
  // @ts-expect-error another loss’s option
  tensor.hingeLoss(both, { labelSmoothing: 0.1 });
  // @ts-expect-error an unknown f-divergence
  tensor.dpoLoss(both, { fDivergenceType: 'js' });
  // @ts-expect-error no weights
  tensor.wpoLoss(both);
  // @ts-expect-error no lengths
  tensor.ipoLoss(both);
  tensor.ipoLoss({ ...both, ...lengths });
  tensor.simpoLoss({ ...policy, ...lengths });
  // @ts-expect-error no reference point
  tensor.ktoLoss(both);
  tensor.ktoLoss({ ...both, kl: 0.5 });
  // @ts-expect-error ranked pairs take no weights
  tensor.aotLoss({ ...both, weights: x });
  // @ts-expect-error EXO needs its ε
  tensor.exoLoss(both, { beta: 0.1 });

  tensor.preferenceLoss(both);
  tensor.preferenceLoss(policy, { lossType: 'sigmoid', refFree: true });
  tensor.preferenceLoss({ ...policy, ...lengths }, { lossType: ['simpo', 'sft'] });
  // @ts-expect-error a missing reference
  tensor.preferenceLoss(policy);
  // @ts-expect-error one of two losses needs the reference
  tensor.preferenceLoss({ ...policy, ...lengths }, { lossType: ['simpo', 'sigmoid'] });
  // @ts-expect-error one of two losses needs lengths
  tensor.preferenceLoss(both, { lossType: ['sigmoid', 'sft'] });
  // @ts-expect-error an unknown loss
  tensor.preferenceLoss(both, { lossType: 'sigmod' });
  // @ts-expect-error ranked pairs take no weights
  tensor.preferenceLoss({ ...both, weights: x }, { lossType: 'aot' });

  const numbers = { chosenLogps: -1, rejectedLogps: -1 };
  const reference = { refChosenLogps: -1, refRejectedLogps: -1 };
  const arrays = { chosenLogps: [-1], rejectedLogps: new Float32Array(1) };
  const references = { refChosenLogps: [-1], refRejectedLogps: [-1] };
  expectTypeOf(scalar.dpoLoss({ ...numbers, ...reference }).losses).toEqualTypeOf<number>();
  expectTypeOf(scalar.dpoLoss({ ...arrays, ...references }).losses).toEqualTypeOf<Float64Array>();
  expectTypeOf(scalar.dpoLoss(numbers, { refFree: true }).losses).toEqualTypeOf<number>();
  expectTypeOf(scalar.wpoLoss({ ...arrays, ...references, weights: [1] }).dpoLosses).toEqualTypeOf<Float64Array>();
  expectTypeOf(scalar.preferenceLoss({ ...arrays, ...references }).losses).toEqualTypeOf<Float64Array>();
  // @ts-expect-error a missing reference
  scalar.dpoLoss(numbers);
  // @ts-expect-error a missing reference
  scalar.dpoLoss(arrays);
  // @ts-expect-error numbers and arrays mixed
  scalar.dpoLoss({ ...numbers, ...references });
  // @ts-expect-error no weights
  scalar.wpoLoss({ ...numbers, ...reference });
  // @ts-expect-error one of two losses needs the reference
  scalar.preferenceLoss({ ...arrays, chosenLengths: [1], rejectedLengths: [1] }, { lossType: ['simpo', 'ipo'] });
}

it('is compiled', () => {
  expectTypeOf(compiled).toBeFunction();
  expect(compiled).toBeTypeOf('function');
});
