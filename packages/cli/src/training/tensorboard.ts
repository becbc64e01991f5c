import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { makeFolder } from '@wpo/internal/node/files';
import type { SummaryWriter } from '@wpo/tensorflow';
import type { MetricsRow, MetricsSink } from '@wpo/trainer';

/**
 * Metrics as event files for TensorBoard, with the names of `metrics.jsonl` as tags. `rewind` replaces the files of earlier starts by
 * one with the rows of the run so far, so that no step has two points.
 *
 * @param open opens an event file in a folder
 */
export function tensorboardFiles(folder: string, open: (folder: string) => SummaryWriter) {
  let writer: SummaryWriter | undefined;
  const add = ({ step, ...metrics }: MetricsRow) => {
    for (const [tag, value] of Object.entries(metrics)) writer?.scalar(tag, value, step!);
  };
  const sink: MetricsSink = {
    write(row) {
      add(row);
      writer?.flush();
    },
    async rewind(rows) {
      await makeFolder(folder);
      for (const name of await readdir(folder)) {
        if (name.startsWith('events.out.tfevents.')) await rm(join(folder, name));
      }
      writer = open(folder);
      for (const row of rows) add(row);
      writer.flush();
    },
  };
  return { sink, dispose: () => writer?.close() };
}

/** A sink that writes to several. */
export const allSinks = (sinks: readonly MetricsSink[]): MetricsSink => ({
  async write(row) {
    for (const sink of sinks) await sink.write(row);
  },
  async rewind(rows) {
    for (const sink of sinks) await sink.rewind?.(rows);
  },
});
