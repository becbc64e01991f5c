import { type TrainEvent, type TrainOptions, type TrainResult, train } from '../src';

/** Trains to the end, and calls a function with each event. */
export async function trainWith(
  options: TrainOptions,
  onEvent: (event: TrainEvent) => void | Promise<void>,
): Promise<TrainResult> {
  const run = train(options);
  for await (const event of run) await onEvent(event);
  return run;
}
