import { describe } from '@wpo/internal/describe';
import { seal, unseal } from '@wpo/internal/node/sealed';
import { printable } from '@wpo/internal/printable';
import * as v from 'valibot';
import type { Json, TrainerState } from '../checkpoint';
import { TrainingError } from '../errors';

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
/** JSON has null for a number that is not finite. */
const metric = v.pipe(
  v.nullable(v.number()),
  v.transform((value) => value ?? Number.NaN),
);
const json = v.custom<Json>(() => true); // it was parsed from JSON

const pairSums = v.strictObject({ pairs: count, tokens: count, chosenDrop: v.number(), weight: v.number() });

const schema: v.GenericSchema<unknown, TrainerState> = v.strictObject({
  version: v.literal(1),
  step: count,
  tokens: count,
  log: v.array(v.record(v.string(), metric)),
  interval: v.strictObject({
    steps: count,
    pairs: count,
    loss: v.number(),
    sums: v.strictObject({
      loss: v.number(),
      weight: v.number(),
      chosenReward: v.number(),
      rejectedReward: v.number(),
      accuracy: v.number(),
      margin: v.number(),
      chosenLogps: v.number(),
      rejectedLogps: v.number(),
    }),
    weightMin: v.nullable(v.number()),
    weightMax: v.nullable(v.number()),
    tokens: count,
    seconds: v.number(),
    gradNorm: v.nullable(v.number()),
  }),
  optimizerStep: count,
  evaluationDue: v.boolean(),
  skippedSteps: count,
  best: v.nullable(v.strictObject({ step: count, value: v.number() })),
  health: v.strictObject({
    start: v.nullable(pairSums),
    window: pairSums,
    heldOutStart: v.nullable(pairSums),
    training: v.nullable(v.string()),
    heldOut: v.nullable(v.string()),
  }),
  healthyUpTo: count,
  goodStep: v.nullable(count),
  random: json,
  run: v.record(v.string(), json),
});

const PURPOSE = 'trainer_state.json';

/** The text of `trainer_state.json`, with a checksum. */
export const formatTrainerState = (state: TrainerState): string => `${seal(PURPOSE, state, 2)}\n`;

/** @throws TrainingError where the text is damaged, or a key is missing or has another type. */
export function parseTrainerState(text: string): TrainerState {
  const value = unseal(PURPOSE, text);
  if (value === undefined)
    throw new TrainingError('expected the text that its checksum belongs to, found other text: it is damaged');
  if (value.version !== 1) throw new TrainingError(`expected version 1, found ${describe(value.version)}`);
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  const [issue] = result.issues;
  throw new TrainingError(
    printable(`${v.getDotPath(issue) ?? 'state'}: expected ${issue.expected}, found ${issue.received}`),
  );
}
