import type { TrainEvent, TrainResult } from '@wpo/trainer';
import type { StageName } from './schemas/run';

/** What `wpo train --json` and `wpo run --json` print, one event a line. docs/events.md describes each. */
export type WpoEvent =
  | TrainEvent
  | {
      /** The pairs are read, and the model is loaded next. */
      readonly type: 'run';
      /** The absolute path of the run's folder. */
      readonly outputDir: string;
      /** Pairs to train on, and pairs held out. */
      readonly pairs: number;
      readonly heldOut: number;
    }
  | {
      /** The model, before training or after a step, has answered prompts: see `eval_prompts` and `report_samples`. */
      readonly type: 'answers';
      readonly step: number;
      readonly answers: readonly { readonly prompt: string; readonly text: string }[];
    }
  | ({
      /** Training has ended, and what it leaves is written. */
      readonly type: 'result';
      /** The folder of the trained model or adapter; null where the run was stopped before it was written. */
      readonly model: string | null;
    } & TrainResult)
  | {
      /** A stage of `wpo run` starts, is skipped because it is done, has ended, or was stopped. */
      readonly type: 'stage';
      readonly stage: StageName;
      readonly state: 'running' | 'skipped' | 'finished' | 'stopped';
    }
  | {
      /** The last event of a command that an error ended. */
      readonly type: 'error';
      readonly message: string;
      readonly status: number;
    }
  | {
      /** The last event of any other command. */
      readonly type: 'end';
      /** The exit status. */
      readonly status: number;
    };
