import { alpacaMetrics, metricsByDataset, parseAnnotation } from '@wpo/eval';
import { readAlpaca } from '@wpo/eval/node';
import { fromInput } from '../errors';
import { evalOutputs } from '../evaluation/baseline';
import { evalPairs } from '../evaluation/held-out-pairs';
import { formatDatasets, formatMetrics } from '../evaluation/report';
import { type EvalConfig, type EvalConfigWith, evalSchema } from '../schemas/eval';
import { checkFlags } from '../schemas/flags';
import { processTerminal, type Terminal } from '../terminal/terminal';

/**
 * `wpo eval`: computes win rates from judged answers (`annotations`), win rates of a model against a baseline (`baseline`),
 * or rewards of held-out pairs (`pairs`).
 *
 * @returns the exit status
 */
export async function evaluate(config: EvalConfig, terminal: Terminal = processTerminal()): Promise<number> {
  checkFlags(evalSchema, config); // guarantees the fields that the casts below assume
  if (config.annotations !== undefined) {
    return evalAnnotations(config as EvalConfigWith<'annotations'>, terminal);
  }
  if (config.pairs !== undefined) return evalPairs(config as EvalConfigWith<'pairs' | 'model'>, terminal);
  return evalOutputs(config as EvalConfigWith<'baseline' | 'judge' | 'out'>, terminal);
}

/** Prints the win rates of a file of judged answers. */
async function evalAnnotations({ annotations: path, json }: EvalConfigWith<'annotations'>, terminal: Terminal) {
  const annotations = await fromInput(() => readAlpaca(path, parseAnnotation));
  const invalid = annotations.filter(({ preference: p }) => p !== null && p !== 0 && !(p >= 1 && p <= 2)).length;
  if (invalid > 0) terminal.stderr.write(`${path}: ignored ${invalid} preferences that are not from 1 to 2.\n`);
  const metrics = alpacaMetrics(annotations);
  const tables = () => `${formatMetrics(metrics)}\n\n${formatDatasets(metricsByDataset(annotations))}`;
  terminal.stdout.write(`${json ? JSON.stringify(metrics, null, 2) : tables()}\n`);
  return 0;
}
