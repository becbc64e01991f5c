import { readFile } from 'node:fs/promises';
import { basename, join, resolve, sep } from 'node:path';
import type { Message } from '@wpo/data';
import {
  type Annotation,
  alpacaMetrics,
  type JudgeRequest,
  judgeOutputs,
  judgePrompt,
  type ModelOutput,
  metricsByDataset,
  type OutputPair,
  pairOutputs,
  parseJudgePrompt,
} from '@wpo/eval';
import {
  type Endpoint,
  endpointJudge,
  isJudgeReply,
  openReplyCache,
  readInstructions,
  readOutputs,
} from '@wpo/eval/node';
import { makeFolder } from '@wpo/internal/node/files';
import { connect } from '../answers/server';
import { adapterIn, localModel } from '../downloads';
import { fromInput, UserError } from '../errors';
import { writeWholeFile } from '../files';
import { warnOfLeftOut } from '../pairs';
import type { EvalConfigWith } from '../schemas/eval';
import { count, counted } from '../terminal/format';
import { withProgress } from '../terminal/progress';
import { failureLimit, MAX_FAILURES_IN_A_ROW, type StopSignal, withSignals } from '../terminal/signals';
import type { Terminal } from '../terminal/terminal';
import { answerSet } from './answer-set';
import { formatDatasets, formatMetrics } from './report';

type BaselineConfig = EvalConfigWith<'baseline' | 'judge' | 'out'>;

/**
 * Has a judge compare a model's answers with a baseline's, and writes `model_outputs.json`, `annotations.json` and
 * `metrics.json`. Answers and judgements are cached as they arrive, and the same command makes those that are missing.
 * Returns the exit status.
 */
export async function evalOutputs(config: BaselineConfig, terminal: Terminal): Promise<number> {
  const baseline = await outputsIn(config.baseline, terminal);
  const prompt = await promptOf(config);
  await makeFolder(config.out);
  return withSignals(terminal, async (stop) => {
    const model = await outputsOf(config, stop, terminal);
    if (model === null) return stop.status();
    await writeRows(join(config.out, 'model_outputs.json'), model);
    const pairs = pairUp(baseline, model, config, terminal);
    const endpoint = connect({ ...config, model: config.judgeModel, url: config.judge }, stop, terminal);
    const judged = await judgeAll(pairs, { ...config, endpoint, prompt }, stop, terminal);
    if (judged === null) return stop.status() || 1;
    await report(judged, config, terminal);
    return 0;
  });
}

const promptOf = ({ judgePrompt: path }: BaselineConfig): Promise<readonly Message[]> =>
  fromInput(async () => (path === undefined ? judgePrompt : parseJudgePrompt(await readFile(path, 'utf8'))));

async function outputsOf(config: BaselineConfig, stop: StopSignal, terminal: Terminal) {
  const { model, outputs, evalSet, generator, out } = config;
  if ((model === undefined) === (outputs === undefined)) {
    throw new UserError(
      '--model: expected exactly one of --model, which answers the set, and --outputs, which has the answers, ' +
        `found ${model === undefined ? 'neither' : 'both'}.`,
    );
  }
  if (outputs !== undefined) {
    if (evalSet !== undefined)
      throw new UserError(
        '--eval-set: expected with --model, found with --outputs, which already has the answers. Remove --eval-set.',
      );
    const answers = await outputsIn(outputs, terminal);
    return generator === undefined ? answers : answers.map((answer) => ({ ...answer, generator }));
  }
  const instructionsFile = evalSet ?? config.baseline;
  const instructions = await fromInput(() => readInstructions(instructionsFile));
  const name =
    generator ??
    resolve(config.adapter ?? model!)
      .split(sep)
      .slice(-2)
      .join('-');
  const folder = await localModel(model!, terminal);
  const adapter = await adapterIn(config.adapter, terminal);
  const settings = { ...config, model: folder, adapter, generator: name, instructions, instructionsFile };
  return answerSet({ ...settings, cache: join(out, 'answers.jsonl') }, stop, terminal);
}

/** A model's answers from a file. Reports the rows that are left out. */
async function outputsIn(path: string, terminal: Terminal): Promise<ModelOutput[]> {
  const { outputs, leftOut } = await fromInput(() => readOutputs(path));
  warnOfLeftOut(path, leftOut, 'output', terminal);
  return outputs;
}

function pairUp(
  baseline: readonly ModelOutput[],
  model: readonly ModelOutput[],
  config: BaselineConfig,
  { stderr }: Terminal,
): OutputPair[] {
  const pairs = pairOutputs(baseline, model);
  const path = config.outputs ?? config.evalSet ?? basename(config.model ?? '');
  if (pairs.length === 0) {
    throw new UserError(
      `${config.baseline}: expected answers to the instructions of ${path}, found none. Use answers to the same instructions.`,
    );
  }
  if (pairs.length < Math.max(baseline.length, model.length)) {
    stderr.write(
      `${counted(pairs.length, 'instruction has', 'instructions have')} both answers. Left out: ` +
        `${count(baseline.length - pairs.length)} of the baseline’s ${count(baseline.length)} and ` +
        `${count(model.length - pairs.length)} of the model’s ${count(model.length)}.\n`,
    );
  }
  return pairs;
}

interface Judging extends Pick<BaselineConfig, 'judgeForm' | 'judgeMaxTokens' | 'out' | 'concurrency'> {
  readonly endpoint: Endpoint;
  readonly prompt: readonly Message[];
}

interface Judged {
  readonly annotations: readonly Annotation[];
  /** Why requests brought no verdict. */
  readonly problems: readonly string[];
}

/** Judges all pairs. Returns null, after a message, if some or all could not be judged. */
async function judgeAll(
  pairs: readonly OutputPair[],
  { endpoint, prompt, judgeForm: form, judgeMaxTokens: maxTokens, out, concurrency }: Judging,
  stop: StopSignal,
  terminal: Terminal,
): Promise<Judged | null> {
  const cache = await openReplyCache(join(out, 'judgements.jsonl'), isJudgeReply);
  const { signal: limit, failures, onError, onSuccess } = failureLimit(stop);
  const problems: string[] = [];
  let verdicts = 0;
  const signal = {
    get aborted() {
      return limit.aborted || (verdicts === 0 && problems.length >= MAX_FAILURES_IN_A_ROW);
    },
  };
  try {
    const askJudge = await endpointJudge({ endpoint, form, prompt, maxTokens, cache });
    const judge = async (request: JudgeRequest) => {
      const judgement = await askJudge(request);
      if (judgement.problem === undefined) verdicts += 1;
      else problems.push(judgement.problem);
      return judgement;
    };
    const annotator = await endpoint.model();
    const annotations = await withProgress(terminal, { label: 'judge', total: pairs.length }, (shown) => {
      const onProgress = (done: number) => {
        onSuccess();
        shown.update(done, failures.length > 0 ? `${failures.length} failed` : undefined);
      };
      return judgeOutputs({ pairs, judge, annotator, concurrency, signal, onError, onProgress });
    });
    if (verdicts === 0 && problems.length > 0 && failures.length === 0 && !stop.signal.aborted) {
      terminal.stderr.write(
        `Nothing could be judged: ${counted(problems.length, 'request')} brought no verdict.\n${examples(problems)}`,
      );
      return null;
    }
    if (annotations.length === pairs.length) return { annotations, problems };
    const left = pairs.length - annotations.length;
    if (failures[0] !== undefined) terminal.stderr.write(`${failures[0].message}\n`);
    terminal.stderr.write(
      `${count(left)} of ${counted(pairs.length, 'pair')} ${left === 1 ? 'is' : 'are'} not judged yet. Replies so far are ` +
        'kept; run the same command again to resume.\n',
    );
    return null;
  } finally {
    await cache.close();
  }
}

/** The first different problems, one on each line. */
const examples = (problems: readonly string[]): string =>
  [...new Set(problems)]
    .slice(0, 3)
    .map((problem) => `  ${problem}\n`)
    .join('');

async function report({ annotations, problems }: Judged, { out, json }: BaselineConfig, terminal: Terminal) {
  const metrics = alpacaMetrics(annotations);
  const datasets = metricsByDataset(annotations);
  await writeRows(join(out, 'annotations.json'), annotations);
  await writeWholeFile(join(out, 'metrics.json'), (append) =>
    append(`${JSON.stringify({ ...metrics, datasets }, null, 2)}\n`),
  );
  const { generator_1, generator_2, annotator } = annotations[0]!;
  const undecided = annotations.filter(({ preference }) => preference === null).length;
  if (undecided > 0) {
    terminal.stderr.write(
      `${count(undecided)} of ${counted(annotations.length, 'pair')} ${undecided === 1 ? 'does' : 'do'} not count, because a ` +
        `request brought no verdict:\n${examples(problems)}`,
    );
  }
  const table = () =>
    `${generator_2} against ${generator_1}, judged by ${annotator} in both orders\n\n` +
    `${formatMetrics(metrics)}\n\n${formatDatasets(datasets)}\n\nWritten to ${out}`;
  terminal.stdout.write(`${json ? JSON.stringify(metrics, null, 2) : table()}\n`);
}

/** Writes rows as one JSON array, as alpaca_eval does. */
const writeRows = (path: string, rows: readonly object[]): Promise<void> =>
  writeWholeFile(path, (append) => append(`${JSON.stringify(rows, null, 2)}\n`));
