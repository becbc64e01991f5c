import { seal } from '@wpo/internal/node/sealed';
import { expect, test } from 'vitest';
import type { TrainerState } from '../../src/checkpoint';
import { healthyStart } from '../../src/collapse';
import { emptyInterval } from '../../src/metrics';
import { formatTrainerState, parseTrainerState } from '../../src/node/trainer-state';

const state: TrainerState = {
  version: 1,
  step: 4,
  tokens: 120,
  log: [
    { step: 2, loss: 0.5 },
    { step: 4, 'wpo/weight_min': Number.NaN },
  ],
  interval: { ...emptyInterval, steps: 1, loss: 1e-7, weightMin: 0.25, weightMax: 1 },
  optimizerStep: 4,
  evaluationDue: true,
  skippedSteps: 1,
  best: { step: 2, value: 0.4 },
  health: healthyStart,
  healthyUpTo: 3,
  goodStep: null,
  random: [1, 2],
  run: { seed: 1, beta: 0.1 },
};

test('a state is read back unchanged', () => {
  expect(parseTrainerState(formatTrainerState(state))).toEqual(state);
});

test('changed text is refused', () => {
  const text = formatTrainerState(state).replace('"step": 4', '"step": 3');
  expect(() => parseTrainerState(text)).toThrow('expected the text that its checksum belongs to');
});

test.each<[object, string]>([
  [{ ...state, step: undefined }, 'step: expected "step", found undefined'],
  [{ ...state, step: 1.5 }, 'step: expected'],
  [{ ...state, tokens: -1 }, 'tokens: expected >=0, found -1'],
  [{ ...state, interval: { ...state.interval, sums: { loss: 0 } } }, 'interval.sums.weight: expected "weight"'],
  [{ ...state, log: [{ loss: 'x' }] }, 'log.0.loss: expected'],
  [{ ...state, cursor: { epoch: 0, pair: 1 } }, 'cursor: expected never, found'],
  [{ ...state, version: 2 }, 'expected version 1, found 2'],
])('a state with a key missing, unknown or of another type is refused: %#', (value, message) => {
  expect(() => parseTrainerState(seal('trainer_state.json', value, 2))).toThrow(message);
});
