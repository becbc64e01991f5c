import { existsSync } from 'node:fs';
import { join, resolve, sep } from 'node:path';
import { parseAddress } from '@wpo/eval/node';
import type { Command } from 'commander';
import { type EvalArguments, evaluate, kindOfEvaluation } from './commands/eval';
import { checkPairing, type PairArguments, pair } from './commands/pair';
import { checkSampling, type SampleArguments, sample } from './commands/sample';
import { checkScoring, type ScoreArguments, score } from './commands/score';
import { checkWeighing, type WeighArguments, weigh } from './commands/weigh';
import { isUserError, UserError } from './errors';
import { evaluation } from './flags/eval';
import { pair as pairFlags } from './flags/pair';
import { sample as sampleFlags } from './flags/sample';
import { score as scoreFlags } from './flags/score';
import { weigh as weighFlags } from './flags/weigh';
import type { Given } from './run-config';
import { type RunFile, readRunFile, type StageBlock, type StageName } from './run-file';
import { sourceFrom } from './sources';
import { readOptions } from './stage-options';
import type { Terminal } from './terminal';
import { planTraining } from './training-stage';

/** A stage that is ready to be run. */
export interface PlannedStage {
  readonly name: StageName;
  /** What decides its output beside its inputs: no paths, no addresses, nothing about speed. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** Absolute paths, and names on the hub. */
  readonly inputs: readonly string[];
  /** Addresses of servers, without names and passwords. */
  readonly servers: readonly string[];
  /** What it makes: file or folder, as later stages name it. Absent where it only prints. */
  readonly out?: string;
  /** Paths that are there once it is done. */
  readonly outputs: readonly string[];
  /** Paths that other settings may not go on with. */
  readonly begun: readonly string[];
  /** Whether it ends early, and keeps what it has, at SIGINT or SIGTERM. */
  readonly heedsSignals: boolean;
  run(terminal: Terminal): Promise<number>;
}

/** What earlier stages make. */
export type Made = ReadonlyMap<StageName, string>;

/** A stage that is a command with options. */
interface CommandStage {
  flags(terminal: Terminal, finish: (status: number) => void): Command;
  /** Throws where options do not go together. */
  check(given: never): void;
  run(given: never, terminal: Terminal): Promise<number>;
  /** Keys that the file may leave out. */
  defaults(made: Made, keys: ReadonlyMap<string, Given>): Readonly<Record<string, unknown>>;
}

type CommandName = Exclude<StageName, 'train'>;

const COMMANDS: Readonly<Record<CommandName, CommandStage>> = {
  sample: {
    flags: sampleFlags,
    check: (given: SampleArguments) => checkSampling(given),
    run: (given: SampleArguments, terminal) => sample(given, terminal),
    // rows name their model as the file does, not by an absolute path
    defaults: (_, keys) => ({ out: 'answers.jsonl', source: keys.get('model')?.value }),
  },
  score: {
    flags: scoreFlags,
    check: (given: ScoreArguments) => checkScoring(given),
    run: (given: ScoreArguments, terminal) => score(given, terminal),
    defaults: (made) => ({ answers: made.get('sample'), out: 'scored.jsonl' }),
  },
  pair: {
    flags: pairFlags,
    check: (given: PairArguments) => checkPairing(given),
    run: (given: PairArguments, terminal) => pair(given, terminal),
    defaults: (made) => ({ answers: made.get('score'), out: 'pairs.jsonl' }),
  },
  weigh: {
    flags: weighFlags,
    check: (given: WeighArguments) => checkWeighing(given),
    run: (given: WeighArguments, terminal) => weigh(given, terminal),
    defaults: (made) => ({ pairs: made.get('pair'), out: 'weights.jsonl' }),
  },
  eval: {
    flags: evaluation,
    check: (given: EvalArguments) => void kindOfEvaluation(given),
    run: (given: EvalArguments, terminal) => evaluate(given, terminal),
    defaults: (made, keys) => ({
      ...(keys.has('outputs') || keys.has('annotations') ? {} : { model: trainedModel(made) }),
      ...(keys.has('baseline') ? { out: 'eval' } : {}),
    }),
  },
};

const trainedModel = (made: Made) => {
  const folder = made.get('train');
  return folder === undefined ? undefined : join(folder, 'model');
};

/** Options that are paths, and whether a name on the hub will do, too. */
const PATHS: Readonly<Record<string, 'path' | 'model' | 'dataset'>> = {
  prompts: 'path',
  answers: 'path',
  rewards: 'path',
  against: 'dataset',
  pairs: 'dataset',
  model: 'model',
  ref: 'model',
  annotations: 'path',
  baseline: 'path',
  outputs: 'path',
  evalSet: 'path',
  judgePrompt: 'path',
};

const SERVERS = ['endpoint', 'judge'];

/** Options that change how fast an output comes, or how it is told, and not the output. */
const IDLE = ['concurrency', 'timeout', 'retries', 'batchSize', 'json'];

/**
 * Reads a run's YAML file to the stages that it asks for.
 *
 * @param set `stage.key=value` each
 * @throws {UserError} naming every problem of every stage, before any is run
 */
export async function planRun(
  path: string,
  set: readonly string[] = [],
): Promise<{ file: RunFile; stages: PlannedStage[] }> {
  const file = await readRunFile(path, set);
  const problems: string[] = [];
  const made = new Map<StageName, string>();
  const stages: PlannedStage[] = [];
  for (const [name, block] of file.stages) {
    try {
      const stage = name === 'train' ? planTraining(block, file, made) : planCommand(name, block, file, made);
      if (stage.out !== undefined) made.set(name, stage.out);
      stages.push(stage);
    } catch (error) {
      if (!(error instanceof Error) || !isUserError(error)) throw error;
      problems.push(error.message);
    }
  }
  if (problems.length > 0) throw new UserError(problems.join('\n'));
  return { file, stages };
}

function planCommand(name: CommandName, block: StageBlock, { file, outputDir }: RunFile, made: Made): PlannedStage {
  const command = COMMANDS[name];
  const where = `${file}: ${name}`;
  const keys = new Map(block.keys);
  for (const [key, value] of Object.entries(command.defaults(made, block.keys))) {
    if (value !== undefined && !keys.has(key)) keys.set(key, { value, at: `${file}: `, folder: outputDir });
  }
  const { values, problems } = readOptions(
    command.flags(process, () => {}),
    keys,
    where,
  );
  if (problems.length > 0) throw new UserError(problems.join('\n'));
  at(where, () => command.check(values as never));

  const inputs: string[] = [];
  const { out, ...rest } = values;
  const settings: Record<string, unknown> = {};
  const given: Record<string, unknown> = { ...values };
  for (const [key, value] of Object.entries(rest)) {
    const kind = isPath(name, key, values) ? PATHS[key] : undefined;
    if (kind !== undefined) {
      const { folder } = keys.get(keyIn(keys, key))!;
      given[key] = Array.isArray(value) ? value.map((it) => located(it, kind, folder)) : located(value, kind, folder);
      inputs.push(...([given[key]].flat() as string[]));
    } else if (!SERVERS.includes(key) && !IDLE.includes(key)) settings[key] = value;
  }
  const servers = SERVERS.flatMap((key) =>
    values[key] === undefined ? [] : [at(`${where}.${key}`, () => parseAddress(String(values[key])).openai)],
  );
  if (out !== undefined) given.out = resolve(keys.get('out')!.folder, String(out));
  return {
    name,
    settings,
    inputs,
    servers,
    ...filesOf(name, given.out as string | undefined),
    heedsSignals: name === 'sample' || name === 'score' || (given.out !== undefined && name === 'eval'),
    run: (terminal) => command.run(given as never, terminal),
  };
}

/** What a stage's `out` is made of. */
function filesOf(name: CommandName, out: string | undefined): Pick<PlannedStage, 'out' | 'outputs' | 'begun'> {
  if (out === undefined) return { outputs: [], begun: [] };
  if (name === 'eval') {
    const files = ['model_outputs.json', 'annotations.json', 'metrics.json'];
    return { out, outputs: files.map((file) => join(out, file)), begun: [] }; // what is kept there has keys of its own
  }
  const rows = { sample: [out], score: [out, `${out}.verdicts.jsonl`], pair: [], weigh: [] };
  return { out, outputs: [out], begun: rows[name] };
}

/** `model` is a name where a server is asked, or the scorer. */
const isPath = (name: CommandName, key: string, { endpoint }: Readonly<Record<string, unknown>>) =>
  key !== 'model' || (name !== 'score' && endpoint === undefined);

/** The key as the file has it: `evalSet` may be `eval_set` or `eval-set` there. */
const keyIn = (keys: ReadonlyMap<string, Given>, name: string) =>
  [...keys.keys()].find((key) => key.replaceAll(/[-_](\w)/g, (_, letter: string) => letter.toUpperCase()) === name)!;

function located(value: unknown, kind: 'path' | 'model' | 'dataset', folder: string): string {
  return kind === 'path' ? resolve(folder, String(value)) : sourceFrom(folder, String(value), kind);
}

/**
 * Looks for what the stages read and no earlier one of them makes: to be told before hours of work, not after.
 *
 * @throws {UserError} naming all that is missing
 */
export function checkInputs(file: string, stages: readonly PlannedStage[]): void {
  const coming: string[] = [];
  const isThere = (path: string) =>
    /^hf:|[*?[{]/.test(path) ||
    existsSync(path) ||
    coming.some((out) => path === out || path.startsWith(`${out}${sep}`));
  const missing = stages.flatMap(({ name, inputs, out }) => {
    const lines = inputs
      .filter((path) => !isThere(path))
      .map((path) => `${file}: ${name}: found no ${path}, wanted a file or folder to read.`);
    if (out !== undefined) coming.push(out);
    return lines;
  });
  if (missing.length > 0) throw new UserError(missing.join('\n'));
}

/** Puts a place before an error's message. */
function at<T>(where: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (error instanceof Error && isUserError(error)) throw new UserError(`${where}: ${error.message}`);
    throw error;
  }
}
