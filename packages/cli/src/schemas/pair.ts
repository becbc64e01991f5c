import { boolean, choice, integer, number, path, paths, texts } from './fields';
import { type ConfigOf, commandSchema } from './schema';
import { json, onBadRow, outputFile } from './shared';

/** `wpo pair`. */
export const pairSchema = commandSchema({
  name: 'pair',
  summary: 'make preference pairs from scored answers',
  description: [
    'Makes one preference pair from the answers to each prompt. The chosen answer is the one with the highest score (the ' +
      'shortest, if several have it). --strategy selects the rejected answer from the lower ones. Writes one JSON line per pair: ' +
      'prompt_id, prompt, chosen, rejected, score_chosen, score_rejected, source_chosen, source_rejected, and the ' +
      'answers’ other fields. Prints how many answers and prompts were left out, and why.',
  ],
  fields: {
    answers: paths({
      required: true,
      help: 'JSONL files of scored answers, as wpo score writes them',
      flag: { placeholder: 'files' },
    }),
    out: outputFile,
    strategy: choice(
      {
        'max-min': 'the one with the lowest score',
        'max-random': 'any lower one, drawn at random',
        margin: 'the one with the highest score that is at least --min-margin lower',
      },
      { default: 'max-min', help: 'which answer is the rejected one', flag: { placeholder: 'name' } },
    ),
    minMargin: number({
      min: 0,
      help: 'minimum difference of the two scores; required with --strategy margin (default: 0)',
    }),
    offPolicy: texts('the name of a source, or a list of names', {
      help: 'sources that are not the model to be trained',
      flag: { placeholder: 'sources' },
    }),
    hybrid: number({
      min: 0,
      max: 1,
      help: 'share of the prompts for which off-policy answers are used; the others use the model’s own only (default: 1)',
      flag: { placeholder: 'share' },
    }),
    seed: integer({
      min: 0,
      default: 42,
      help: 'random seed of --strategy max-random and --hybrid',
      flag: { placeholder: 'number' },
    }),
    against: path('dataset', {
      help: 'an evaluation set; pairs that share --ngram consecutive words with it are reported',
      flag: { placeholder: 'file' },
    }),
    ngram: integer({
      min: 1,
      default: 13,
      help: 'how many consecutive words count as an overlap',
      flag: { placeholder: 'words' },
    }),
    dropOverlaps: boolean({ help: 'leave out pairs that overlap with the evaluation set' }),
    onBadRow,
    json,
  },
  check({ strategy, minMargin = 0, offPolicy, hybrid, against, dropOverlaps }, name) {
    if (strategy === 'margin' && minMargin === 0) {
      const expected = `a number above 0 with ${name('strategy')} margin`;
      return [{ field: 'minMargin', expected, found: '0', hint: 'It is the minimum margin of a pair.' }];
    }
    if (hybrid !== undefined && offPolicy === undefined) {
      const hint = 'Name the sources that are not the model’s own.';
      return [{ field: 'hybrid', expected: `${name('offPolicy')} with it`, found: 'none', hint }];
    }
    if (dropOverlaps && against === undefined) {
      const hint = 'Name the evaluation set.';
      return [{ field: 'dropOverlaps', expected: `${name('against')} with it`, found: 'none', hint }];
    }
    return [];
  },
  examples: [
    'wpo pair --answers scored.jsonl gpt4-scored.jsonl --out pairs.jsonl',
    'wpo pair --answers scored.jsonl --out pairs.jsonl --strategy max-random --seed 1',
    'wpo pair --answers all.jsonl --off-policy gpt-4-turbo --hybrid 0.5 --against alpaca_eval.json --out pairs.jsonl',
  ],
});

/** The configuration of `wpo pair`. @interface */
export type PairConfig = { [K in keyof ConfigOf<typeof pairSchema>]: ConfigOf<typeof pairSchema>[K] };
