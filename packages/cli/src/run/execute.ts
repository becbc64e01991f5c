import { relative } from 'node:path';
import { takeSignalStatus } from '../terminal/signals';
import type { Terminal } from '../terminal/terminal';
import type { PlannedStage } from './plan';
import { hashPaths, moveAway, type RunState, recordOf, type StageRecord } from './state';

/**
 * Runs a stage, or skips it if its settings and inputs have not changed and its output is complete.
 *
 * @param all every stage of the run's file
 * @returns the exit status of the stage's command
 */
export async function executeStage(
  stage: PlannedStage,
  all: readonly PlannedStage[],
  state: RunState,
  terminal: Terminal,
): Promise<number> {
  const say = (text: string) => void terminal.stdout.write(`${stage.name.padEnd(6)}  ${text}\n`);
  const tell = (progress: 'running' | 'skipped' | 'finished' | 'stopped') =>
    terminal.onEvent?.({ type: 'stage', stage: stage.name, state: progress });
  const output = stage.out === undefined ? '' : `: ${relative('', stage.out) || stage.out}`;
  const [before, now] = [state.get(stage.name), await recordOf(stage)];
  const isComplete = before?.outputs !== undefined && before.outputs === (await hashPaths(stage.outputs));
  if (isComplete && isSame(before, now) && stage.outputs.length > 0) {
    say(`skipped, already done${output}`);
    tell('skipped');
    return 0;
  }
  if (before !== undefined) {
    for (const path of await clearOutdated(stage, all, { before, now, isComplete }, state)) {
      say(`moved the old output to ${relative('', path)}`);
    }
  }
  await state.set(stage.name, now);
  say('running');
  tell('running');
  const { status, finished } = await runStage(stage, terminal);
  if (finished) {
    await state.set(stage.name, { ...now, outputs: await hashPaths(stage.outputs) });
    say(`finished${output}`);
    tell('finished');
  }
  if (status !== 0) {
    say('stopped. Run the same command again to continue.');
    if (!finished) tell('stopped');
  }
  return status;
}

const isSame = (before: StageRecord, now: StageRecord) =>
  before.settings === now.settings && before.inputs === now.inputs;

/** A stage's record from an earlier run, and as it is now. */
interface RecordChange {
  readonly before: StageRecord;
  readonly now: StageRecord;
  /** Whether the output is the one that the earlier run recorded. */
  readonly isComplete: boolean;
}

/**
 * Moves away output that the stage must not resume from:
 * - if the settings changed, all of its output, and the scores of that output;
 * - if only the inputs changed, the output of `train`, which starts again. `sample` and `score` keep the rows that they still
 *   need;
 * - if nothing changed but the trained model is not as training left it, the model, which training writes again.
 *
 * @returns the new paths
 */
async function clearOutdated(
  stage: PlannedStage,
  all: readonly PlannedStage[],
  { before, now, isComplete }: RecordChange,
  state: RunState,
): Promise<string[]> {
  const isTraining = stage.name === 'train';
  if (isTraining && isSame(before, now)) {
    return before.outputs === undefined || isComplete ? [] : moveAllAway(stage.outputs);
  }
  if (before.settings === now.settings && !isTraining) return [];
  const scoring = all.find(
    ({ name, inputs }) => name === 'score' && stage.out !== undefined && inputs.includes(stage.out),
  );
  if (scoring !== undefined) await state.set(scoring.name, undefined);
  return moveAllAway([...stage.resumedFrom, ...(scoring?.resumedFrom ?? [])]);
}

async function moveAllAway(paths: readonly string[]): Promise<string[]> {
  const targets: string[] = [];
  for (const path of paths) {
    const target = await moveAway(path);
    if (target !== undefined) targets.push(target);
  }
  return targets;
}

/** Runs a stage's command. If a signal arrives after the stage's last step, the stage is finished and the run stops. */
async function runStage({ run }: PlannedStage, terminal: Terminal) {
  takeSignalStatus();
  const status = await run(terminal);
  return { status: status || takeSignalStatus(), finished: status === 0 };
}
