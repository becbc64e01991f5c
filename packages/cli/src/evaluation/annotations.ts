import { alpacaMetrics, metricsByDataset, parseAnnotation } from '@wpo/eval';
import { readAlpaca } from '@wpo/eval/node';
import { fromInput } from '../errors';
import type { Terminal } from '../terminal';
import { formatDatasets, formatMetrics } from './report';

export interface AnnotationsArguments {
  /** File in the format of alpaca_eval's `annotations.json`. */
  readonly annotations: string;
  readonly json?: boolean;
}

/** Prints the win rates of a file of judged answers. */
export async function evalAnnotations({ annotations: path, json }: AnnotationsArguments, terminal: Terminal) {
  const annotations = await fromInput(() => readAlpaca(path, parseAnnotation));
  const wrong = annotations.filter(({ preference: p }) => p !== null && p !== 0 && !(p >= 1 && p <= 2)).length;
  if (wrong > 0) terminal.stderr.write(`${path}: ignored ${wrong} preferences that are not from 1 to 2.\n`);
  const metrics = alpacaMetrics(annotations);
  const tables = () => `${formatMetrics(metrics)}\n\n${formatDatasets(metricsByDataset(annotations))}`;
  terminal.stdout.write(`${json ? JSON.stringify(metrics, null, 2) : tables()}\n`);
  return 0;
}
