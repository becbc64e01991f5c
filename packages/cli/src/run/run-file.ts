import { UserError } from '../errors';
import { wpoCommand } from '../invocation';
import { unknownKey } from '../schemas/other-names';
import { type Given, readConfigText, readYaml } from '../schemas/read-yaml';
import { runSchema, STAGE_NAMES, type StageName } from '../schemas/run';
import { trainSchema } from '../schemas/train';
import { describeValue, type Entries, listProblems, parseEntries, readSetting } from '../schemas/yaml-config';

/** The contents of `wpo run`'s YAML file, before its stages are checked. */
export interface RunFile {
  readonly file: string;
  /** An absolute path. */
  readonly outputDir: string;
  /** The keys of each stage, including those of `--set`. */
  readonly stages: ReadonlyMap<StageName, Entries>;
}

/**
 * Reads the file of a run: `output_dir`, and a block of keys for each stage.
 *
 * @param set settings as `stage.key=value` or `output_dir=value`, with YAML values; they override the file
 * @throws {UserError} naming every problem: file, line and key, what was expected and what was found
 */
export async function readRunFile(file: string, set: readonly string[] = []): Promise<RunFile> {
  const top = readYaml(await readConfigText(file), file);
  const names = top.map(([key]) => key).filter(isStage);
  const problems = top.flatMap(([key, given]) => checkBlock(key, given));
  if (names.length === 0)
    problems.push(`${file}: expected at least one of the stages ${STAGE_NAMES.join(', ')}, found none.`);

  const stages = new Map(names.map((name) => [name, new Map(top.find(([key]) => key === name)![1].keys)]));
  const own = new Map(top.filter(([key]) => key === 'output_dir'));
  for (const setting of set) {
    const [path, given] = readSetting(setting);
    const [stage = '', key] = splitOnce(path, '.');
    const target = isStage(stage) && key !== undefined ? stages.get(stage) : path === 'output_dir' ? own : undefined;
    if (target === undefined) {
      problems.push(
        `--set ${path}: expected output_dir, or a key of a stage in the file, e.g. --set sample.seeds=1,2.`,
      );
    } else target.set(key ?? path, given);
  }
  try {
    const { outputDir } = parseEntries(runSchema, own, { file });
    if (problems.length === 0) return { file, outputDir, stages: inOrder(stages) };
  } catch (error) {
    problems.push((error as Error).message);
  }
  throw new UserError(listProblems(problems));
}

const isStage = (key: string): key is StageName => (STAGE_NAMES as readonly string[]).includes(key);

function checkBlock(key: string, { at, value, keys }: Given): string[] {
  if (key === 'output_dir') return [];
  if (!isStage(key)) return [`${at}${unknownTopKey(key)}`];
  if (value === null || keys !== undefined) return [];
  return [
    `${at}${key}: expected the options of \`${wpoCommand()} ${key}\`, one key per line, found ${describeValue(value)}.`,
  ];
}

function unknownTopKey(key: string): string {
  if (Object.hasOwn(trainSchema.fields, fieldName(key))) {
    return `${key}: unknown key. It belongs to training: put it under \`train:\`, or use \`${wpoCommand()} train\` with this file.`;
  }
  return unknownKey(key, ['output_dir', ...STAGE_NAMES], { kind: 'key', command: 'run', nameOf: (own) => own });
}

const fieldName = (key: string) => key.replaceAll(/_(\w)/g, (_, letter: string) => letter.toUpperCase());

function splitOnce(text: string, separator: string): [string, string?] {
  const at = text.indexOf(separator);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

const inOrder = <T>(stages: ReadonlyMap<StageName, T>): Map<StageName, T> =>
  new Map(STAGE_NAMES.flatMap((name) => (stages.has(name) ? [[name, stages.get(name)!] as const] : [])));
