import { existsSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { readJsonFile } from '@wpo/internal/node/json-file';
import type { PairRow, Run, SampledAnswers, ScoredPair, Setting } from '@wpo/report';
import { readPairLog } from '@wpo/trainer/node';
import * as v from 'valibot';
import { fromInput, UserError } from '../errors';
import { defaultsOf, yamlKey } from '../schemas/schema';
import { trainSchema } from '../schemas/train';
import { formatValue } from '../schemas/yaml-config';
import { configOf, type RunFolder, readCollapse, readMetrics, runFolder } from '../training/run-folder';
import { reportFiles } from './recordings';

const tokens = v.array(v.object({ text: v.string(), logp: v.number(), alignment: v.number() }));
const scoredPairs: v.GenericSchema<unknown, ScoredPair[]> = v.array(
  v.object({
    ...{ id: v.string(), rank: v.picklist(['lowest', 'highest']), by: v.picklist(['weight', 'margin']) },
    ...{ step: v.number(), weight: v.number(), margin: v.number(), prompt: v.string() },
    ...{ chosen: tokens, rejected: tokens, omitted: v.object({ chosen: v.number(), rejected: v.number() }) },
  }),
);
const samples = v.array(
  v.object({ prompt: v.string(), answers: v.array(v.object({ step: v.number(), text: v.string() })) }),
) as v.GenericSchema<unknown, SampledAnswers[]>;
const environment = v.record(v.string(), v.string());

/**
 * Reads what a run has written, finished or not. Files that are missing leave out their part of the report.
 *
 * @param path the folder of a run of `wpo train`, or of a run of `wpo run`, whose training is in `train/`
 * @throws {UserError} if it has no metrics, or a file is damaged
 */
export async function readRun(path: string): Promise<{ readonly run: Run; readonly folder: RunFolder }> {
  const folder = [path, join(path, 'train')].map(runFolder).find(({ metrics }) => existsSync(metrics));
  if (folder === undefined) {
    throw new UserError(
      `${path}: expected the folder of a run, with a file metrics.jsonl, found none. Give the output_dir of wpo train or of wpo run.`,
    );
  }
  return { run: await readRunFolder(folder, basename(resolve(path))), folder };
}

/** As `readRun`, also before the first row of metrics is written. */
export async function readRunFolder(folder: RunFolder, name = basename(resolve(folder.path))): Promise<Run> {
  const files = reportFiles(folder);
  const pairs: PairRow[] = [];
  if (existsSync(folder.pairs)) for await (const row of readPairLog(folder.pairs)) pairs.push(row);
  return {
    name,
    status: await statusOf(folder),
    metrics: existsSync(folder.metrics) ? await readMetrics(folder) : [],
    pairs,
    scored: await readAs(files.pairs, scoredPairs),
    samples: await readAnswers(folder),
    settings: await settingsOf(folder),
    environment: Object.entries((await readAs(files.environment, environment)) ?? {}),
  };
}

/** The answers that were recorded so far. @throws {UserError} if the file has something else */
export const readAnswers = async (folder: RunFolder): Promise<SampledAnswers[]> =>
  (await readAs(reportFiles(folder).answers, samples)) ?? [];

async function statusOf(folder: RunFolder): Promise<string> {
  const collapse = await readCollapse(folder);
  if (collapse !== null) return `stopped: the model collapsed ${collapse}`;
  return existsSync(folder.model) && !existsSync(folder.extending) ? 'finished' : 'not finished';
}

/** Every key of the configuration that has a value. */
async function settingsOf(folder: RunFolder): Promise<Setting[]> {
  const config: Readonly<Record<string, unknown>> | undefined = await configOf(folder);
  const defaults: Readonly<Record<string, unknown>> = defaultsOf(trainSchema);
  return Object.entries(config ?? {}).flatMap(([name, value]) =>
    value === undefined
      ? []
      : [{ key: yamlKey(name), value: formatValue(value), isDefault: isDeepStrictEqual(value, defaults[name]) }],
  );
}

/** @throws {UserError} if the file has something else */
async function readAs<T>(path: string, schema: v.GenericSchema<unknown, T>): Promise<T | undefined> {
  const value = await fromInput(() => readJsonFile(path, { hint: HINT }));
  if (value === undefined) return undefined;
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  throw new UserError(`${path}: expected what wpo train writes there, found other JSON. ${HINT}`);
}

const HINT = 'Remove the file: the report then leaves this part out.';
