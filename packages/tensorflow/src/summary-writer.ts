import * as tf from '@tensorflow/tfjs-core';

/** Writes event files for TensorBoard. */
export interface SummaryWriter {
  /** Adds a point to the curve of a tag. @param step a whole number */
  scalar(tag: string, value: number, step: number): void;
  /** Writes the points so far to the file. */
  flush(): void;
  /** Writes the points so far and closes the file. */
  close(): void;
}

/** What tfjs-node's own `SummaryFileWriter` uses, which keeps a folder's file open as long as the process lives. */
interface SummaryBackend {
  summaryWriter(folder: string): tf.Tensor;
  createSummaryFileWriter(writer: tf.Tensor, folder: string): void;
  writeScalarSummary(writer: tf.Tensor, step: number, tag: string, value: number): void;
  flushSummaryWriter(writer: tf.Tensor): void;
  executeMultipleOutputs(operation: string, attributes: readonly [], inputs: readonly tf.Tensor[], outputs: 0): void;
}

/**
 * Opens a new event file in a folder, which must exist. A folder can have one open writer.
 *
 * @throws Error if the file cannot be written
 */
export function summaryWriter(folder: string): SummaryWriter {
  const backend = tf.backend() as unknown as SummaryBackend;
  const writer = backend.summaryWriter(folder);
  tf.tidy(() => backend.createSummaryFileWriter(writer, folder));
  return {
    scalar: (tag, value, step) => backend.writeScalarSummary(writer, step, tag, value),
    flush: () => backend.flushSummaryWriter(writer),
    close() {
      backend.executeMultipleOutputs('CloseSummaryWriter', [], [writer], 0);
      writer.dispose();
    },
  };
}
