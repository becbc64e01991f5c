import { adafactor, adamW, adamW8bit, lion, type RuleOptions, sgd } from '@wpo/trainer';

/** All optimizers, by name. */
export const optimizers = {
  AdamW: adamW,
  'AdamW with 8-bit moments': (options: RuleOptions) =>
    adamW8bit({ ...options, float32SecondMoment: ({ name }) => name === 'embedding' }),
  Lion: lion,
  SGD: sgd,
  Adafactor: adafactor,
};
