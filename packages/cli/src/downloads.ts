import type { DownloadProgress } from '@wpo/data/hub';
import { modelFolder } from '@wpo/data/hub';
import { fromInput } from './errors';
import { type Progress, progress } from './progress';
import type { Terminal } from './terminal';

const MB = 1e6;

/** Runs what may fetch from the hub, showing how many megabytes have come once any do. */
export async function withDownloads<T>(
  terminal: Terminal,
  work: (onDownload: (progress: DownloadProgress) => void) => Promise<T>,
): Promise<T> {
  let shown: Progress | undefined;
  try {
    return await work(({ file, done, total }) => {
      shown ??= progress(terminal, { label: 'download, MB', total: Math.ceil(total / MB) });
      shown.update(Math.ceil(done / MB), file);
    });
  } finally {
    shown?.stop();
  }
}

/**
 * The folder of a model given as a path or by its name on the hub, fetched where it is not here yet.
 *
 * @throws {UserError} where it cannot be had
 */
export const localModel = (source: string, terminal: Terminal): Promise<string> =>
  fromInput(() => withDownloads(terminal, (onDownload) => modelFolder(source, { onDownload })));
