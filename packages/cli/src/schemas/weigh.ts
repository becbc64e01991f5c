import { LOSS_OPTIONS, OPTION_DESCRIPTIONS } from '@wpo/loss/scalar';
import { boolean, number, path } from './fields';
import { checkSmoothing, LOSS_NAMES, lossSpec, lossType } from './loss';
import { type ConfigOf, commandSchema, type Problem } from './schema';
import {
  adapter,
  alignment,
  beta,
  checkLengths,
  columns,
  dtype,
  encodingFields,
  onBadRow,
  outputFile,
  precision,
  split,
} from './shared';

/** `wpo weigh`. */
export const weighSchema = commandSchema({
  name: 'weigh',
  summary: 'compute the weight of each preference pair',
  description: [
    'Computes the weight that each pair would have in training: near 1 if the model would write such answers itself, ' +
      'near 0 if it would not. Writes one JSON line per pair, in the order of the input: id, file, line, prompt_tokens, chosen_tokens, ' +
      'rejected_tokens, chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, alignment, weight, dpo_loss, ' +
      'wpo_loss, and with --loss-type also loss and weighted_loss. Prints a histogram of the weights, and the pairs with the lowest and highest ones.',
  ],
  fields: {
    model: path('model', { required: true, help: 'the model: a folder, or org/name on the Hugging Face Hub' }),
    adapter,
    dtype,
    precision,
    ref: path('model', { help: 'the reference model (default: the model itself, with its adapter)' }),
    pairs: path('dataset', {
      required: true,
      help: 'preference pairs: a file, folder or glob, or org/name on the Hub',
    }),
    split,
    columns,
    out: outputFile,
    beta,
    labelSmoothing: number({
      ...LOSS_OPTIONS.labelSmoothing,
      help: OPTION_DESCRIPTIONS.labelSmoothing,
      flag: { placeholder: 'share' },
    }),
    lossType: lossType({
      help: `also write the values of this loss: ${LOSS_NAMES.join(', ')}`,
      flag: { placeholder: 'name' },
    }),
    kl: number({ min: 0, help: 'the reference point of loss kto' }),
    alignment,
    clamp: boolean({
      default: true,
      help: 'limit weights to at most 1',
      flag: { negatedHelp: 'allow weights above 1, as TRL does' },
    }),
    ...encodingFields,
    onBadRow,
  },
  check(config, name): Problem[] {
    const { lossType, labelSmoothing, kl } = config;
    const problems = checkLengths(config, name);
    if (lossType === undefined) return problems;
    const { kl: needsKl, ranks } = lossSpec(lossType);
    problems.push(...checkSmoothing([lossType], labelSmoothing, name));
    if (needsKl && kl === undefined) {
      const expected = `a number of 0 or more with ${name('lossType')} ${lossType}`;
      const hint = 'It is the loss’s reference point; apo_zero is kto with kl 0.';
      problems.push({ field: 'kl', expected, found: 'nothing', hint });
    }
    if (ranks) {
      const hint = 'This loss compares the pairs of a batch, and weigh computes one pair at a time.';
      problems.push({ field: 'lossType', expected: 'a loss of single pairs', found: lossType, hint });
    }
    return problems;
  },
  examples: [
    'wpo weigh --model demo/model --pairs demo/data/eval.jsonl --out weights.jsonl',
    'wpo weigh --model runs/a/model --ref demo/model --pairs pairs.jsonl --out weights.jsonl --beta 0.01',
    'wpo weigh --model demo/model --pairs demo/data/eval.jsonl --out weights.jsonl --loss-type simpo --beta 2',
  ],
});

/** The configuration of `wpo weigh`. @interface */
export type WeighConfig = { [K in keyof ConfigOf<typeof weighSchema>]: ConfigOf<typeof weighSchema>[K] };
