import { existsSync } from 'node:fs';
import { join, sep } from 'node:path';
import { parseAddress } from '@wpo/eval/node';
import { makeFolder } from '@wpo/internal/node/files';
import { isUserError, UserError } from '../errors';
import { writeWholeFile } from '../files';
import { trainsAdapter } from '../schemas/adapter';
import type { EvalConfig } from '../schemas/eval';
import type { PairConfig } from '../schemas/pair';
import type { Given } from '../schemas/read-yaml';
import { STAGES, type StageName } from '../schemas/run';
import type { SampleConfig } from '../schemas/sample';
import { decidingValues, yamlKey } from '../schemas/schema';
import type { ScoreConfig } from '../schemas/score';
import { type TrainConfig, trainSchema } from '../schemas/train';
import type { WeighConfig } from '../schemas/weigh';
import { configYaml, type Entries, type Located, locationsIn, locationsOf, parseEntries } from '../schemas/yaml-config';
import type { Terminal } from '../terminal/terminal';
import { type RunFile, readRunFile } from './run-file';

/** A stage that is ready to run. */
export interface PlannedStage {
  readonly name: StageName;
  /** The options that decide its output, without paths, addresses and options that only change its speed. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** Absolute paths, and names on the Hub. */
  readonly inputs: readonly string[];
  /** Addresses of servers, without user names and passwords. */
  readonly servers: readonly string[];
  /** The file or folder that it writes; absent if it only prints. */
  readonly out?: string | undefined;
  /** The paths that exist when it is finished. */
  readonly outputs: readonly string[];
  /** The paths from which it resumes. They are moved away if the settings change. */
  readonly resumedFrom: readonly string[];
  /** The model of the adapter that the stage trains; absent for other stages. */
  readonly baseModel?: string | undefined;
  run(terminal: Terminal): Promise<number>;
}

interface StageConfigs {
  readonly sample: SampleConfig;
  readonly score: ScoreConfig;
  readonly pair: PairConfig;
  readonly weigh: WeighConfig;
  readonly train: TrainConfig;
  readonly eval: EvalConfig;
}

type StageFiles = Pick<PlannedStage, 'outputs' | 'resumedFrom'>;

/** How a stage runs, and which files it writes at `out`. */
interface StageCommand<C> {
  files(out: string | undefined): StageFiles;
  run(config: C, terminal: Terminal, outputDir: string): Promise<number>;
}

const COMMANDS: { readonly [S in StageName]: StageCommand<StageConfigs[S]> } = {
  sample: {
    files: (out) => ({ outputs: [out!], resumedFrom: [out!] }),
    run: async (config, terminal) => (await import('../commands/sample')).sample(config, terminal),
  },
  score: {
    files: (out) => ({ outputs: [out!], resumedFrom: [out!, `${out}.verdicts.jsonl`] }),
    run: async (config, terminal) => (await import('../commands/score')).score(config, terminal),
  },
  pair: {
    files: (out) => ({ outputs: [out!], resumedFrom: [] }),
    run: async (config, terminal) => (await import('../commands/pair')).pair(config, terminal),
  },
  weigh: {
    files: (out) => ({ outputs: [out!], resumedFrom: [] }),
    run: async (config, terminal) => (await import('../commands/weigh')).weigh(config, terminal),
  },
  train: {
    files: (out) => ({ outputs: [join(out!, 'model')], resumedFrom: [out!] }),
    async run(config, terminal, outputDir) {
      // for the user's records, and to train again with `wpo train`
      await makeFolder(outputDir);
      await writeWholeFile(join(outputDir, 'train.yaml'), (append) => append(configYaml(trainSchema, config)));
      const { train } = await import('../commands/train');
      return train(config, { resume: existsSync(config.outputDir) }, terminal);
    },
  },
  eval: {
    files(out) {
      const names = ['model_outputs.json', 'annotations.json', 'metrics.json'];
      const outputs = out === undefined ? [] : names.map((name) => join(out, name));
      return { outputs, resumedFrom: [] }; // its caches are keyed by the settings
    },
    run: async (config, terminal) => (await import('../commands/eval')).evaluate(config, terminal),
  },
};

/**
 * Reads the YAML file of a run, and checks all its stages.
 *
 * @param set settings as `stage.key=value`, which override the file
 * @throws {UserError} naming every problem of every stage, before any stage runs
 */
export async function planRun(
  path: string,
  set: readonly string[] = [],
): Promise<{ file: RunFile; stages: PlannedStage[] }> {
  const file = await readRunFile(path, set);
  const problems: string[] = [];
  const made = new Map<StageName, PlannedStage>();
  const stages: PlannedStage[] = [];
  for (const [name, entries] of file.stages) {
    try {
      const stage = planStage(name, entries, file, made);
      made.set(name, stage);
      stages.push(stage);
    } catch (error) {
      if (!(error instanceof Error) || !isUserError(error)) throw error;
      problems.push(error.message);
    }
  }
  if (problems.length > 0) throw new UserError(problems.join('\n'));
  return { file, stages };
}

/** @param made the earlier stages */
function planStage<S extends StageName>(
  name: S,
  written: Entries,
  { file, outputDir }: RunFile,
  made: ReadonlyMap<StageName, PlannedStage>,
): PlannedStage {
  const { schema, output } = STAGES[name];
  const entries = withDefaults(name, written, { file, outputDir }, made);
  const config = parseEntries(schema, entries, { file, prefix: `${name}.` });
  const values = config as Readonly<Record<string, unknown>>;
  const servers: string[] = [];
  const inputs: string[] = [];
  for (const [field, location] of locationsOf(schema, config)) {
    if (location === 'server') {
      const { at } = entries.get(yamlKey(field))!;
      servers.push(withErrorPrefix(`${at}${name}.${yamlKey(field)}`, () => parseAddress(String(values[field])).openai));
    } else if (location !== 'output') inputs.push(...locationsIn(values[field] as Located));
  }
  const out = values[output.field] as string | undefined;
  return {
    name,
    settings: decidingValues(schema, config, ['results', 'files']),
    inputs,
    servers,
    out,
    ...COMMANDS[name].files(out),
    ...(name === 'train' &&
      trainsAdapter(config as TrainConfig) && { baseModel: (config as TrainConfig).modelNameOrPath }),
    run: (terminal) => COMMANDS[name].run(config as StageConfigs[S], terminal, outputDir),
  };
}

/** Adds a stage's defaults in a run: its output path and, as its input, the output of an earlier stage. */
function withDefaults(
  name: StageName,
  written: Entries,
  { file, outputDir }: Pick<RunFile, 'file' | 'outputDir'>,
  made: ReadonlyMap<StageName, PlannedStage>,
): Entries {
  const { output, input } = STAGES[name];
  const entries = new Map([...written].filter(([, { value }]) => value !== null));
  const has = (key: string) => entries.has(key) || entries.has(key.replaceAll('_', '-'));
  const add = (field: string, value: unknown) => {
    const given: Given = { value, at: `${file}: `, folder: outputDir };
    if (value !== undefined && !has(yamlKey(field))) entries.set(yamlKey(field), given);
  };
  if (name !== 'eval' || has('baseline')) add(output.field, output.path);
  if (name === 'sample') add('source', entries.get('model')?.value); // the model as the file names it, not an absolute path
  if (input === undefined) return entries;
  const { out: source, baseModel } = made.get(input.from) ?? {};
  if (name !== 'eval') add(input.field, source);
  else if (source !== undefined && !has('outputs') && !has('annotations') && !has('model')) {
    const trained = join(source, 'model');
    add('model', baseModel ?? trained);
    if (baseModel !== undefined) add('adapter', trained);
  }
  return entries;
}

/**
 * Checks that each input exists or is made by an earlier stage, so that a missing file is reported before hours of work.
 *
 * @throws {UserError} naming every missing input
 */
export function checkInputs(file: string, stages: readonly PlannedStage[]): void {
  const planned: string[] = [];
  const isAvailable = (path: string) =>
    /^hf:|[*?[{]/.test(path) ||
    existsSync(path) ||
    planned.some((out) => path === out || path.startsWith(`${out}${sep}`));
  const missing = stages.flatMap(({ name, inputs, out }) => {
    const lines = inputs
      .filter((path) => !isAvailable(path))
      .map(
        (path) =>
          `${file}: ${name}: expected a file or folder to read, found no ${path}. Correct the path, or add the stage that writes it.`,
      );
    if (out !== undefined) planned.push(out);
    return lines;
  });
  if (missing.length > 0) throw new UserError(missing.join('\n'));
}

/** Puts a prefix before the message of an error about the input. */
function withErrorPrefix<T>(prefix: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (error instanceof Error && isUserError(error)) throw new UserError(`${prefix}: ${error.message}`);
    throw error;
  }
}
