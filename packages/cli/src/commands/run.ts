import { constants } from 'node:os';
import { relative } from 'node:path';
import { stopOnSignals } from '@wpo/trainer/node';
import { claim } from '../claim';
import { UserError } from '../errors';
import type { StageName } from '../run-file';
import { checkInputs, type PlannedStage, planRun } from '../run-plan';
import { hashPaths, openRunState, type RunState, recordOf, type StageRecord, setAside } from '../run-state';
import type { Terminal } from '../terminal';

export interface RunArguments {
  /** The run's YAML file. */
  readonly config: string;
  /** `stage.key=value` each, over the file's. */
  readonly set?: readonly string[];
  /** The first stage to look at. */
  readonly from?: StageName;
  /** The only one. */
  readonly only?: StageName;
}

/**
 * `wpo run`: takes a file's stages in their order. A stage whose inputs and settings are as they were, and whose output is
 * whole, is passed over; one that was stopped goes on where it was.
 *
 * @returns the exit status: 0; 1 where a stage has rows missing; 130 or 143 where SIGINT or SIGTERM stopped it
 */
export async function run(given: RunArguments, terminal: Terminal = process): Promise<number> {
  const { file, stages } = await planRun(given.config, given.set);
  const chosen = choose(stages, given);
  checkInputs(given.config, chosen);
  const state = await openRunState(file.outputDir);
  const release = await claim(file.outputDir, 'run');
  try {
    for (const stage of chosen) {
      const status = await runUnlessDone(stage, stages, state, terminal);
      if (status !== 0) return status;
    }
    return 0;
  } finally {
    release();
  }
}

function choose(stages: readonly PlannedStage[], { config, from, only }: RunArguments): readonly PlannedStage[] {
  const first = only ?? from;
  const start = first === undefined ? 0 : stages.findIndex(({ name }) => name === first);
  if (start < 0) {
    throw new UserError(
      `--${only ? 'only' : 'from'} ${first}: found no such stage in ${config}, wanted one of ` +
        `${stages.map(({ name }) => name).join(', ')}.`,
    );
  }
  return stages.slice(start, only === undefined ? undefined : start + 1);
}

async function runUnlessDone(stage: PlannedStage, all: readonly PlannedStage[], state: RunState, terminal: Terminal) {
  const say = (what: string) => void terminal.stdout.write(`${stage.name.padEnd(6)}  ${what}\n`);
  const made = stage.out === undefined ? '' : `: ${relative('', stage.out) || stage.out}`;
  const [before, now] = [state.get(stage.name), await recordOf(stage)];
  const whole = before?.outputs !== undefined && before.outputs === (await hashPaths(stage.outputs));
  if (whole && isSame(before, now) && stage.outputs.length > 0) {
    say(`done before${made}`);
    return 0;
  }
  if (before !== undefined) {
    for (const path of await clearWay(stage, all, before, now, whole, state)) say(`set aside: ${relative('', path)}`);
  }
  await state.set(stage.name, now);
  say('running');
  const { status, finished } = await heedingSignals(stage, terminal);
  if (finished) {
    await state.set(stage.name, { ...now, outputs: await hashPaths(stage.outputs) });
    say(`finished${made}`);
  }
  if (status !== 0) say('stopped: the same command goes on from here');
  return status;
}

const isSame = (before: StageRecord, now: StageRecord) =>
  before.settings === now.settings && before.inputs === now.inputs;

/**
 * Sets aside what the stage may not go on with. Rows of other settings are none of this run's, and so are the scores of
 * such rows; where only inputs changed, rows that are still asked for are kept. Training goes on with the same pairs alone.
 */
async function clearWay(
  stage: PlannedStage,
  all: readonly PlannedStage[],
  before: StageRecord,
  now: StageRecord,
  whole: boolean,
  state: RunState,
): Promise<string[]> {
  const training = stage.name === 'train';
  if (training && isSame(before, now)) return before.outputs === undefined || whole ? [] : moved(stage.outputs);
  if (before.settings === now.settings && !training) return [];
  const follower = all.find(
    ({ name, inputs }) => name === 'score' && stage.out !== undefined && inputs.includes(stage.out),
  );
  if (follower !== undefined) await state.set(follower.name, undefined);
  return moved([...stage.begun, ...(follower?.begun ?? [])]);
}

async function moved(paths: readonly string[]): Promise<string[]> {
  const targets: string[] = [];
  for (const path of paths) {
    const target = await setAside(path);
    if (target !== undefined) targets.push(target);
  }
  return targets;
}

/** Where a signal came while the stage was at its end, the stage is finished and the run is not. */
async function heedingSignals({ heedsSignals, run }: PlannedStage, terminal: Terminal) {
  let signalled = 0;
  const onSignal = (name: NodeJS.Signals) => {
    signalled = 128 + constants.signals[name];
  };
  const { dispose } = heedsSignals ? stopOnSignals({ onSignal }) : { dispose() {} };
  try {
    const status = await run(terminal);
    return { status: status || signalled, finished: status === 0 };
  } finally {
    dispose();
  }
}
