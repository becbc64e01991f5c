import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { train } from './commands/train';
import { parseRunConfig, type RunConfig, runConfigYaml } from './run-config';
import type { RunFile, StageBlock } from './run-file';
import type { Made, PlannedStage } from './run-plan';
import { writeWholeFile } from './whole-file';

/** Keys that are paths. */
const PATHS = ['model_name_or_path', 'ref_model_name_or_path', 'train_file', 'eval_file'] as const;

/** Keys that change how fast a run is and what it tells, and not the model. */
const IDLE = ['activation_checkpointing', 'logging_steps', 'save_steps', 'save_total_limit', 'output_dir'];

/**
 * The training of a run: the keys of `wpo train`, of which `train_file` and `output_dir` may be left out.
 *
 * @throws {UserError} naming every problem
 */
export function planTraining(block: StageBlock, { file, outputDir }: RunFile, made: Made): PlannedStage {
  const defaults = { train_file: made.get('pair'), output_dir: join(outputDir, 'train') };
  const set = Object.entries(defaults)
    .filter(([key, value]) => value !== undefined && !block.keys.has(key))
    .map(([key, value]) => `${key}=${JSON.stringify(value)}`);
  const config = parseRunConfig(block.yaml, { file, set: [...set, ...block.set] });
  const { output_dir: out } = config;
  return {
    name: 'train',
    settings: Object.fromEntries(
      Object.entries(config).filter(([key]) => !(PATHS as readonly string[]).includes(key) && !IDLE.includes(key)),
    ),
    inputs: PATHS.flatMap((key) => config[key] ?? []),
    servers: [],
    out,
    outputs: [join(out, 'model')],
    begun: [out],
    heedsSignals: true,
    run: (terminal) => runTraining(config, outputDir, terminal),
  };
}

/** `wpo train` reads a file: it is given one, which is of use by itself, too. */
async function runTraining(config: RunConfig, outputDir: string, terminal: Parameters<PlannedStage['run']>[0]) {
  await mkdir(outputDir, { recursive: true });
  const path = join(outputDir, 'train.yaml');
  await writeWholeFile(path, (append) => append(runConfigYaml(config)));
  return train({ config: path, resume: existsSync(config.output_dir) }, terminal);
}
