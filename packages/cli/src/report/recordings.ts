// What the report of a run needs the model for. `wpo train` writes it to the run's folder, so that `wpo report` needs no model.
import { spawnSync } from 'node:child_process';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import type { EncodedPair, Tokenizer } from '@wpo/data';
import { loadTokenizerFolder } from '@wpo/data/node';
import { makeFolder } from '@wpo/internal/node/files';
import { ALIGNMENT_TERMS } from '@wpo/loss/scalar';
import type { ScoredPair, TokenScore } from '@wpo/report';
import { loggedId, type PairRow, pauseAndCheck, type TokenTerms } from '@wpo/trainer';
import { readPairLog } from '@wpo/trainer/node';
import { version } from '../../package.json';
import { writeWholeFile } from '../files';
import type { Backend, LoadedModel } from '../models';
import type { RunPairs } from '../pairs';
import type { TrainConfig } from '../schemas/train';
import { withProgress } from '../terminal/progress';
import type { StopSignal } from '../terminal/signals';
import type { Terminal } from '../terminal/terminal';
import type { RunFolder } from '../training/run-folder';

/** The files of a run that only its report reads. */
export const reportFiles = ({ reportData }: RunFolder) => ({
  environment: join(reportData, 'environment.json'),
  answers: join(reportData, 'answers.json'),
  pairs: join(reportData, 'pairs.json'),
});

export interface RecordingOptions {
  readonly folder: RunFolder;
  readonly config: TrainConfig;
  readonly pairs: RunPairs;
  readonly model: LoadedModel;
  readonly backend: Backend;
  readonly terminal: Terminal;
  readonly stop: StopSignal;
}

/** Records the machine and the versions that a run starts with. */
export async function recordEnvironment({
  folder,
  backend,
}: Pick<RecordingOptions, 'folder' | 'backend'>): Promise<void> {
  const [cpu] = cpus();
  const gpu = backend.device === 'gpu' ? gpuNames() : 'none in use';
  const environment = {
    wpo: version,
    TensorFlow: backend.version,
    Node: `${process.versions.node} on ${process.platform}-${process.arch}`,
    CPU: `${cpus().length} x ${cpu?.model.trim() ?? 'unknown'}`,
    GPU: gpu,
    memory: `${(totalmem() / 1e9).toFixed(1)} GB`,
    'last start': new Date().toISOString(),
  };
  await writeJson(reportFiles(folder).environment, environment);
}

function gpuNames(): string {
  const { stdout } = spawnSync('nvidia-smi', ['--query-gpu=name', '--format=csv,noheader'], { encoding: 'utf8' });
  return (stdout ?? '').trim().split('\n').filter(Boolean).join(', ') || 'in use';
}

/** A prompt without what Gemma's chat template puts around a single message; `paper` makes the end a part of the answer. */
export const promptText = (tokenizer: Tokenizer, ids: ArrayLike<number>) =>
  tokenizer
    .decode(ids, { skipSpecialTokens: true })
    .replace(/^user\n/, '')
    .replace(/\nmodel\n$/, '');

/** Pairs of each end that are recorded token by token, and tokens of an answer. */
const EXTREMES = 3;
const MAX_TOKENS = 400;

/** Scores the tokens of the pairs that had the lowest and the highest weights, under the trained model. */
export async function scoreExtremes(options: RecordingOptions): Promise<void> {
  const { folder, config, pairs, model, terminal, stop } = options;
  const last = new Map<string, PairRow>();
  for await (const row of readPairLog(folder.pairs)) last.set(row.id, row);
  const { by, chosen } = extremes([...last.values()]);
  const { tokenizer } = await loadTokenizerFolder(model.folder);
  const pause = pauseAndCheck(() => stop.signal.throwIfAborted());
  const term = ALIGNMENT_TERMS[config.alignment];
  const scored: ScoredPair[] = [];
  await withProgress(terminal, { label: 'score', total: chosen.length }, async (shown) => {
    for (const { row, rank } of chosen) {
      const pair = pairs.train.find(({ id }) => loggedId(id) === row.id);
      if (pair === undefined) continue;
      const forward = await model.policy.forward([pair], { train: false, pause });
      try {
        const terms = await forward.terms();
        const alignment = term === undefined ? undefined : terms[term];
        scored.push({
          ...{ id: row.id, rank, by, step: row.step, weight: row.weight, margin: row.margin },
          ...{ prompt: promptText(tokenizer, pair.prompt), ...scoredSides(tokenizer, pair, terms.logps, alignment) },
        });
      } finally {
        forward.dispose();
      }
      shown.update(scored.length);
    }
  });
  await writeJson(reportFiles(folder).pairs, scored);
}

/** The lowest and the highest by weight, or by margin if all weights are equal. */
function extremes(rows: readonly PairRow[]) {
  const by = rows.every(({ weight }) => weight === rows[0]!.weight) ? ('margin' as const) : ('weight' as const);
  const sorted = rows.toSorted((a, b) => a[by] - b[by]);
  const lowest = sorted.slice(0, EXTREMES);
  const highest = sorted.slice(EXTREMES).slice(-EXTREMES).reverse();
  return {
    by,
    chosen: [
      ...lowest.map((row) => ({ row, rank: 'lowest' as const })),
      ...highest.map((row) => ({ row, rank: 'highest' as const })),
    ],
  };
}

function scoredSides(
  tokenizer: Tokenizer,
  { chosen, rejected }: EncodedPair,
  logps: TokenTerms['logps'],
  alignment: Float32Array | undefined,
): Pick<ScoredPair, 'chosen' | 'rejected' | 'omitted'> {
  const side = (ids: Int32Array, start: number) =>
    tokenScores(tokenizer, ids.subarray(0, MAX_TOKENS), (t) => [logps[start + t]!, alignment?.[start + t] ?? 0]);
  return {
    chosen: side(chosen, 0),
    rejected: side(rejected, chosen.length),
    omitted: {
      chosen: Math.max(0, chosen.length - MAX_TOKENS),
      rejected: Math.max(0, rejected.length - MAX_TOKENS),
    },
  };
}

/** UTF-8 has at most four bytes per character, and a tokenizer may have a token for each byte. */
const MAX_BYTES = 4;

/** @param scoreOf the log-prob and the alignment term of a token by its position */
export function tokenScores(
  tokenizer: Pick<Tokenizer, 'decode'>,
  ids: Int32Array,
  scoreOf: (t: number) => readonly [logp: number, alignment: number],
): TokenScore[] {
  const scores: TokenScore[] = [];
  for (let start = 0; start < ids.length; ) {
    let end = start + 1;
    const text = () => tokenizer.decode(ids.subarray(start, end));
    while (text().includes('\ufffd') && end - start < MAX_BYTES && end < ids.length) end += 1;
    if (text().includes('\ufffd')) end = start + 1; // no character: a token of its own
    let [logp, alignment] = [0, 0];
    for (let t = start; t < end; t++) {
      const [p, a] = scoreOf(t);
      logp += p;
      alignment += a;
    }
    scores.push({ text: text(), logp: rounded(logp), alignment: rounded(alignment) });
    start = end;
  }
  return scores;
}

const rounded = (value: number) => Number(value.toPrecision(5));

export async function writeJson(path: string, value: unknown): Promise<void> {
  await makeFolder(join(path, '..'));
  await writeWholeFile(path, (append) => append(`${JSON.stringify(value)}\n`));
}
