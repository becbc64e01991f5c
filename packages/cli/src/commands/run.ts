import { makeFolder } from '@wpo/internal/node/files';
import { UserError } from '../errors';
import { lockPath } from '../files';
import { executeStage } from '../run/execute';
import { checkInputs, type PlannedStage, planRun } from '../run/plan';
import { openRunState } from '../run/state';
import type { StageName } from '../schemas/run';
import { processTerminal, type Terminal } from '../terminal/terminal';

export interface RunOptions {
  /** The run's YAML file. */
  readonly config: string;
  /** Settings as `stage.key=value`, which override the file. */
  readonly set?: readonly string[] | undefined;
  /** Start with this stage. */
  readonly from?: StageName | undefined;
  /** Run only this stage. */
  readonly only?: StageName | undefined;
}

/**
 * `wpo run`: runs the stages of a file in their order. A stage is skipped if its settings and inputs have not changed and
 * its output is complete; a stage that was stopped resumes.
 *
 * @returns the exit status: 0; 1 if a stage has rows missing; 130 or 143 if SIGINT or SIGTERM stopped it
 */
export async function run(options: RunOptions, terminal: Terminal = processTerminal()): Promise<number> {
  const { file, stages } = await planRun(options.config, options.set);
  const chosen = chooseStages(stages, options);
  checkInputs(options.config, chosen);
  await makeFolder(file.outputDir);
  const release = await lockPath(file.outputDir, 'run');
  try {
    const state = await openRunState(file.outputDir);
    for (const stage of chosen) {
      const status = await executeStage(stage, stages, state, terminal);
      if (status !== 0) return status;
    }
    return 0;
  } finally {
    release();
  }
}

function chooseStages(stages: readonly PlannedStage[], { config, from, only }: RunOptions): readonly PlannedStage[] {
  const first = only ?? from;
  const start = first === undefined ? 0 : stages.findIndex(({ name }) => name === first);
  if (start < 0) {
    throw new UserError(
      `--${only ? 'only' : 'from'}: expected a stage of ${config}, one of ${stages.map(({ name }) => name).join(', ')}, ` +
        `found ${first}.`,
    );
  }
  return stages.slice(start, only === undefined ? undefined : start + 1);
}
