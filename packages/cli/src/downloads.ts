import { readdir } from 'node:fs/promises';
import { constants } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { type HubOptions, modelFolder } from '@wpo/data/hub';
import { checkAdapterFolder, checkModelFolder } from '@wpo/gemma/node';
import { durationText } from '@wpo/internal/node/retry';
import { printable } from '@wpo/internal/printable';
import { stopOnSignals } from '@wpo/trainer/node';
import type { AdapterChoice } from './adapters';
import { fromInput, InterruptedError, UserError } from './errors';
import { nearestName } from './nearest';
import { type Progress, progress } from './terminal/progress';
import type { Terminal } from './terminal/terminal';

const MB = 1e6;

/**
 * Runs work that may download from the Hub. Shows the megabytes that have arrived, and long waits.
 *
 * @throws {InterruptedError} soon after the first SIGINT or SIGTERM
 */
export function withDownloads<T>(terminal: Terminal, work: (options: HubOptions) => Promise<T>): Promise<T> {
  const stopped = 'stopped while reading or downloading. The same command resumes a download.';
  return withTransfers(terminal, { label: 'download, MB', stopped }, ({ show, ...options }) =>
    work({ ...options, onDownload: ({ file, done, total }) => show(done, total, file) }),
  );
}

/** What work that sends or receives files is given. */
interface Transfers extends Pick<HubOptions, 'signal' | 'onWait'> {
  /** Shows how many bytes are transferred. */
  readonly show: (done: number, total: number, file?: string) => void;
}

/**
 * Runs work that sends or receives files. Shows megabytes, and long waits.
 *
 * @param stopped what a signal stopped, and how to continue
 * @throws {InterruptedError} soon after the first SIGINT or SIGTERM
 */
export async function withTransfers<T>(
  terminal: Terminal,
  { label, stopped }: { readonly label: string; readonly stopped: string },
  work: (transfers: Transfers) => Promise<T>,
): Promise<T> {
  let shown: Progress | undefined;
  let received: NodeJS.Signals | undefined;
  const stop = stopOnSignals({
    onSignal: (name) => {
      received = name;
    },
  });
  try {
    return await work({
      signal: stop.signal,
      show(done, total, file) {
        shown ??= progress(terminal, { label, total: Math.ceil(total / MB) });
        shown.update(Math.ceil(done / MB), file);
      },
      onWait: (milliseconds) =>
        void terminal.stderr.write(`The Hub is busy: the next request is in ${durationText(milliseconds)}.\n`),
    });
  } catch (error) {
    if (received === undefined) throw error;
    throw new InterruptedError(`${received}: ${stopped}`, 128 + constants.signals[received]);
  } finally {
    shown?.stop();
    stop.dispose();
  }
}

/**
 * Returns the folder of a model. A model on the Hub is downloaded, unless it is in the cache. Every command takes models through
 * this function.
 *
 * @param source the path of a folder, `org/name` or `hf://org/name[@revision]`
 * @throws {UserError} if there is no such model, or the folder has something else
 */
export async function localModel(source: string, terminal: Terminal): Promise<string> {
  const folder = await localTokenizer(source, terminal);
  await fromInput(() => checkModelFolder(folder));
  return folder;
}

/** As `localModel`, for the folder of an adapter. */
export async function localAdapter(source: string, terminal: Terminal): Promise<string> {
  const folder = await localTokenizer(source, terminal);
  await fromInput(() => checkAdapterFolder(folder));
  return folder;
}

/** The adapter that `--adapter` names. */
export const adapterIn = async (source: string | undefined, terminal: Terminal): Promise<AdapterChoice | undefined> =>
  source === undefined ? undefined : { folder: await localAdapter(source, terminal) };

/** As `localModel`, for the folder of a tokenizer, which needs no weights. */
export async function localTokenizer(source: string, terminal: Terminal): Promise<string> {
  const find = () => withDownloads(terminal, (options) => modelFolder(source, options));
  try {
    return await fromInput(find);
  } catch (error) {
    const [, path] = /^(?:hf:\/\/)?([^/@]+\/[^/@]+)$/.exec(source) ?? []; // a name that could also be a relative path
    if (path === undefined || !(error instanceof Error) || error instanceof InterruptedError) throw error;
    throw new UserError(
      `${error.message} There is no local folder ${printable(resolve(path))} either${await nearestFolder(path)}`,
    );
  }
}

/** The end of a sentence about a path that does not exist: the folder beside it with the most similar name. */
async function nearestFolder(path: string): Promise<string> {
  const entries = await readdir(dirname(path), { withFileTypes: true }).catch(() => []);
  const names = entries
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => printable(join(dirname(path), name), 200));
  const nearest = names.length === 0 ? undefined : nearestName(path, names);
  return nearest === undefined ? '.' : `; did you mean ${nearest}?`;
}
