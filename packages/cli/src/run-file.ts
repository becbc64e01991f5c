import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { nearestName } from '@wpo/internal/nearest';
import { isMap, isScalar, LineCounter, parseDocument } from 'yaml';
import { UserError } from './errors';
import { describe, type Given, readSetting, readYaml } from './run-config';

/** Stages of a run, in their order. */
export const STAGES = ['sample', 'score', 'pair', 'weigh', 'train', 'eval'] as const;

export type StageName = (typeof STAGES)[number];

/** A stage as it was written. */
export interface StageBlock {
  /** Its YAML alone, each line where it is in the file. */
  readonly yaml: string;
  /** `key=value` each, over it. */
  readonly set: readonly string[];
  /** Its keys, those of `set` included. */
  readonly keys: ReadonlyMap<string, Given>;
}

/** A run's YAML file, its stages not looked into yet. */
export interface RunFile {
  readonly file: string;
  /** Absolute. */
  readonly outputDir: string;
  readonly stages: ReadonlyMap<StageName, StageBlock>;
}

/**
 * Reads the file of a whole run: `output_dir`, and a block of keys for each stage.
 *
 * @param set `stage.key=value` each, or `output_dir=value`, the value as YAML has it: they win over the file
 * @throws {UserError} naming every problem: file and line, key, what was found and what wanted
 */
export async function readRunFile(file: string, set: readonly string[] = []): Promise<RunFile> {
  const yaml = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    const found = error.code === 'ENOENT' ? 'no such file' : error.message;
    throw new UserError(`${file}: found ${found}, wanted a run's YAML file, as recipes/hybrid.yaml.`);
  });
  const top = readYaml(yaml, file);
  const problems = top.flatMap(([key, given]) => problemOf(key, given));
  const settings = set.map((setting) => splitSetting(setting, top, problems));
  const output = settings.findLast(({ stage }) => stage === 'output_dir')?.given ?? new Map(top).get('output_dir');
  if (typeof output?.value !== 'string' || output.value === '') {
    problems.push(
      output === undefined
        ? `${file}: output_dir is missing; wanted the run’s folder.`
        : `${output.at}output_dir: found ${describe(output.value)}, wanted the path of a folder.`,
    );
  }
  if (!top.some(([key]) => isStage(key))) problems.push(`${file}: found no stage, wanted any of ${STAGES.join(', ')}.`);
  if (problems.length > 0) throw new UserError(problems.join('\n'));

  const blocks = blocksOf(yaml);
  const stages = STAGES.filter((name) => blocks.has(name)).map((name) => {
    const own = settings.filter(({ stage }) => stage === name);
    const keys = new Map([...readYaml(blocks.get(name)!, file), ...own.map(({ key, given }) => [key, given] as const)]);
    for (const [key, { value }] of keys) if (value === null) keys.delete(key); // `key:` alone leaves the default
    return [name, { yaml: blocks.get(name)!, set: own.map(({ text }) => text), keys }] as const;
  });
  return { file, outputDir: resolve(output!.folder, String(output!.value)), stages: new Map(stages) };
}

const isStage = (key: string): key is StageName => (STAGES as readonly string[]).includes(key);

function problemOf(key: string, { at, value }: Given): string[] {
  if (key === 'output_dir') return [];
  if (!isStage(key)) {
    return [`${at}${key}: there is no such key. The nearest is "${nearestName(key, ['output_dir', ...STAGES])}".`];
  }
  if (value === null || (typeof value === 'object' && !Array.isArray(value))) return [];
  return [`${at}${key}: found ${describe(value)}, wanted the keys of wpo ${key}, a line each.`];
}

/** Takes `stage.key=value` apart; without a dot, `stage` is the key. */
function splitSetting(setting: string, top: readonly [string, Given][], problems: string[]) {
  const [path, given] = readSetting(setting);
  const dot = path.indexOf('.');
  const stage = dot < 0 ? path : path.slice(0, dot);
  const wanted = ['output_dir', ...top.map(([key]) => key).filter(isStage)];
  if (!wanted.includes(stage) || dot < 0 !== (stage === 'output_dir')) {
    problems.push(`--set ${path}: wanted output_dir, or the key of a stage in the file, as --set sample.seeds=1,2.`);
  }
  const key = path.slice(dot + 1);
  return { stage, key, given, text: setting.slice(setting.indexOf(path) + dot + 1) };
}

/** The text of each block, with blanks for all that stands before it, so that its lines keep their numbers. */
function blocksOf(yaml: string): Map<string, string> {
  const lines = new LineCounter();
  const { contents } = parseDocument(yaml, { lineCounter: lines });
  const blocks = new Map<string, string>();
  if (!isMap(contents)) return blocks;
  for (const { key, value } of contents.items) {
    const [start, end] = (isMap(value) && value.range) || [0, 0];
    const { line, col } = lines.linePos(start);
    const before = '\n'.repeat(Math.max(0, line - 1)) + ' '.repeat(Math.max(0, col - 1));
    blocks.set(isScalar(key) ? String(key.value) : String(key), end === 0 ? '' : before + yaml.slice(start, end));
  }
  return blocks;
}
