import { type DownloadProgress, modelFolder } from '@wpo/data/hub';
import { fromInput } from './errors';
import { type Progress, progress } from './terminal/progress';
import type { Terminal } from './terminal/terminal';

const MB = 1e6;

/** Runs work that may download from the Hub, and shows the megabytes that have arrived. */
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
 * Returns the folder of a model. A model on the Hub is downloaded, unless it is in the cache.
 *
 * @param source the path of a folder, `org/name` or `hf://org/name[@revision]`
 * @throws {UserError} if the model is not found on the Hub
 */
export const localModel = (source: string, terminal: Terminal): Promise<string> =>
  fromInput(() => withDownloads(terminal, (onDownload) => modelFolder(source, { onDownload })));
