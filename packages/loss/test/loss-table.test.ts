import { describe, expect, it } from 'vitest';
import {
  LOSS_DESCRIPTIONS,
  LOSS_OPTIONS,
  LOSSES,
  type LossSpec,
  type LossType,
  lossNeeds,
  lossTypes,
  type MixtureOptions,
  type NumberOptionName,
  OPTION_DESCRIPTIONS,
  OPTIONS_OF_LOSS,
  preferenceLoss,
  rangeText,
} from '../src/scalar/index';

const columns = {
  chosenLogps: [-1, -4],
  rejectedLogps: [-3, -2],
  refChosenLogps: [-2, -3],
  refRejectedLogps: [-2, -2.5],
  chosenLengths: [2, 3],
  rejectedLengths: [4, 1],
  kl: 0.5,
};
const losses = (options: MixtureOptions) => [...preferenceLoss(columns, options as MixtureOptions<'kto'>).losses];

describe.each(lossTypes())('the row of %s', (lossType: LossType) => {
  const options: MixtureOptions = { lossType, labelSmoothing: 0.1 };
  const changed: Record<Exclude<NumberOptionName, 'beta' | 'fAlphaDivergenceCoef'>, number> = {
    labelSmoothing: 0.2,
    discopopTau: 0.3,
    simpoGamma: 1,
    cpoAlpha: 0.5,
    desirableWeight: 2,
    undesirableWeight: 0.5,
    bcoDelta: 0.25,
  };

  it('lists exactly the options that change the loss', () => {
    const found = Object.entries(changed).filter(([name, value]) => {
      const [before, after] = [losses(options), losses({ ...options, [name]: value })];
      return before.some((loss, i) => loss !== after[i]);
    });
    expect(found.map(([name]) => name).sort()).toEqual([...OPTIONS_OF_LOSS[lossType]].sort());
  });

  it('lists the inputs that the loss needs', () => {
    const spec: LossSpec = LOSSES[lossType];
    const needs = lossNeeds(options);
    expect(needs.reference).toBe(spec.reference);
    expect(needs.lengths).toBe(!!(spec.perToken || spec.likelihood));
    expect(needs.kl).toBe(!!spec.kl);
    expect(needs.batch).toBe(!!spec.ranks);
    // input that a loss does not need may be absent
    const { chosenLengths, rejectedLengths, refChosenLogps, refRejectedLogps, kl, ...policy } = columns;
    const needed = {
      ...policy,
      ...(needs.lengths ? { chosenLengths, rejectedLengths } : {}),
      ...(needs.reference ? { refChosenLogps, refRejectedLogps } : {}),
      ...(needs.kl ? { kl } : {}),
    };
    expect([...preferenceLoss(needed as typeof columns, options as MixtureOptions<'kto'>).losses]).toEqual(
      losses(options),
    );
  });

  it('says whether the loss takes an f-divergence', () => {
    const bent = () => losses({ ...options, fDivergenceType: 'js_divergence' });
    if ('divergence' in LOSSES[lossType]) expect(bent()).not.toEqual(losses(options));
    else expect(bent).toThrow('fDivergenceType: expected reverse_kl');
  });

  it('has a description', () => expect(LOSS_DESCRIPTIONS[lossType]).toMatch(/\(arXiv \d{4}\.\d{5}/));
});

describe('the options', () => {
  it('have defaults within their ranges, and descriptions', () => {
    expect(losses(Object.fromEntries(Object.entries(LOSS_OPTIONS).map(([name, { default: x }]) => [name, x])))).toEqual(
      losses({}),
    );
    for (const name of Object.keys(LOSS_OPTIONS) as NumberOptionName[]) expect(OPTION_DESCRIPTIONS[name]).not.toBe('');
  });

  it('have ranges in words', () => {
    expect(rangeText(LOSS_OPTIONS.beta)).toBe('a finite number above 0');
    expect(rangeText(LOSS_OPTIONS.cpoAlpha)).toBe('a finite number of at least 0');
    expect(rangeText(LOSS_OPTIONS.labelSmoothing)).toBe('a number from 0 to 0.5');
    expect(rangeText(LOSS_OPTIONS.bcoDelta)).toBe('a finite number');
  });
});
