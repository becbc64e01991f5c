// What `wpo train` prints: its progress, and how a run ended.
import { formatBytes } from '@wpo/internal/node/write-errors';
import type { MetricsRow, TrainEvent, TrainResult } from '@wpo/trainer';
import type { RunPairs } from '../pairs';
import { trainsAdapter } from '../schemas/adapter';
import type { TrainConfig } from '../schemas/train';
import { type Progress, progress } from '../terminal/progress';
import { History } from '../terminal/sparkline';
import type { Terminal } from '../terminal/terminal';
import { type RunFolder, readMetrics } from './run-folder';
import { formatSummary, summarize } from './summary';

/** Prints steps, evaluations and warnings as they happen, and passes all events on. */
export function eventPrinter(config: TrainConfig, terminal: Terminal) {
  let shown: Progress | undefined;
  const losses = new History();
  const print = (line: string) => void terminal.stderr.write(`${line}\n`);
  const format = (row: MetricsRow, names: Readonly<Record<string, string>>) =>
    Object.entries(names).flatMap(([name, metric]) => {
      const value = row[metric]; // a skipped step has none
      return value === undefined ? [] : [`${name} ${value.toFixed(4)}`];
    });
  const show = (event: TrainEvent) => {
    terminal.onEvent?.(event);
    if (event.type === 'step') {
      const { step, totalSteps, metrics } = event;
      shown ??= progress(terminal, { label: 'train', total: totalSteps, every: config.loggingSteps });
      losses.add(metrics.loss ?? Number.NaN);
      const details = format(metrics, { loss: 'loss', weight: 'wpo/weight', margin: 'rewards/margins' });
      const memory = metrics.memory_bytes;
      shown.update(step, details, {
        history: losses.values(),
        last: memory === undefined ? undefined : formatBytes(memory),
      });
    } else if (event.type === 'evaluation') {
      const names = { loss: 'eval_loss', accuracy: 'eval_rewards/accuracies', chosen: 'eval_logps/chosen' };
      print(`held-out pairs after step ${event.step}: ${format(event.metrics, names).join('  ')}`);
    } else if (event.type === 'warning') print(event.message);
  };
  return { show, stop: () => shown?.stop() };
}

export async function runSummary(
  folder: RunFolder,
  pairs: RunPairs,
  result: TrainResult,
  config: TrainConfig,
  report: string | undefined,
): Promise<string> {
  const { collapse, restoredStep, best } = result;
  const summary = summarize(await readMetrics(folder), restoredStep ?? undefined);
  const { path, model } = folder;
  const origin = restoredStep === null ? '' : ` (of checkpoint-${restoredStep}${best ? ', the best' : ''})`;
  const trained = trainsAdapter(config) ? `${model}${origin}, an adapter of ${config.modelNameOrPath}` : model + origin;
  const run = {
    folder: path,
    report,
    model: trained,
    isAdapter: trainsAdapter(config),
    pairs: pairs.train.length,
    skipped: pairs.skipped,
  };
  return `\n${outcome(result, collapse)}\n${formatSummary(summary, { ...run, evalPairs: pairs.held.length })}`;
}

function outcome({ stopped, step, restoredStep }: TrainResult, collapse: string | null): string {
  if (collapse === null) return 'Trained.';
  if (stopped)
    return `Stopped after step ${step}, because the model collapsed: ${collapse}. Saved: the last model before it.`;
  return restoredStep === null
    ? `Trained, but the model has collapsed: ${collapse}. Train again with a lower learning_rate or a higher beta.`
    : `Trained, but the model collapsed: ${collapse}. Saved: the best model before it.`;
}

export const endedByCollapse = ({ model }: RunFolder, collapse: string) =>
  `This run was stopped, because the model collapsed ${collapse}. The last model before it is in ${model}. Train again in another ` +
  'output_dir, with a lower learning_rate or a higher beta.';

export const collapseWithoutModel = (step: number, collapse: string) =>
  `\nStopped after step ${step}, because the model collapsed: ${collapse}. No checkpoint is older than that, so there is no model ` +
  'to keep. Train again with a lower learning_rate or a higher beta.';
