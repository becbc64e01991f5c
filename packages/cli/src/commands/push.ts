import { constants } from 'node:os';
import { join } from 'node:path';
import { checkUpload, uploadModel } from '@wpo/data/hub';
import { readJsonFile } from '@wpo/internal/node/json-file';
import { durationText } from '@wpo/internal/node/retry';
import { stopOnSignals } from '@wpo/trainer/node';
import { fromInput, InterruptedError } from '../errors';
import { wpoCommand } from '../invocation';
import type { PushConfig } from '../schemas/push';
import { counted } from '../terminal/format';
import { type Progress, progress } from '../terminal/progress';
import { processTerminal, type Terminal } from '../terminal/terminal';

const MB = 1e6;

/** `wpo push`: uploads a model to the Hub. Returns the exit status. */
export async function push(config: PushConfig, terminal: Terminal = processTerminal()): Promise<number> {
  await pushModel(config.folder, config.repo, { isPrivate: config.private }, terminal);
  return 0;
}

/** Uploads the folder of a model, and prints its page. @throws {UserError} saying what to do */
export async function pushModel(
  folder: string,
  repo: string,
  { isPrivate }: { readonly isPrivate?: boolean | undefined },
  terminal: Terminal,
): Promise<void> {
  await warnOfLocalBase(folder, terminal);
  let shown: Progress | undefined;
  let received: NodeJS.Signals | undefined;
  const stop = stopOnSignals({
    onSignal: (name) => {
      received = name;
    },
  });
  try {
    const { url, files } = await fromInput(() =>
      uploadModel(folder, repo, {
        isPrivate,
        signal: stop.signal,
        onUpload(done, total) {
          shown ??= progress(terminal, { label: 'upload, MB', total: Math.ceil(total / MB) });
          shown.update(Math.ceil(done / MB));
        },
        onWait: (milliseconds) =>
          void terminal.stderr.write(`The Hub is busy: the next request is in ${durationText(milliseconds)}.\n`),
      }),
    );
    shown?.stop();
    terminal.stdout.write(`Uploaded ${counted(files.length, 'file')} to ${url}\n`);
  } catch (error) {
    if (received === undefined) throw error;
    const message = `${received}: stopped while uploading. wpo push resumes the upload: files that have arrived are not sent again.`;
    throw new InterruptedError(message, 128 + constants.signals[received]);
  } finally {
    shown?.stop();
    stop.dispose();
  }
}

/** Checks, before a run of days, that its model can be uploaded at its end. @throws {UserError} saying what to do */
export const checkPush = (repo: string): Promise<string> =>
  fromInput(async () => {
    try {
      return await checkUpload(repo);
    } catch (error) {
      const hint = `To train without: --set push_to_hub=false; ${wpoCommand()} push uploads the model later.`;
      throw new Error(`${(error as Error).message} ${hint}`, { cause: error });
    }
  });

/** An adapter is loaded with the model that its configuration names. */
async function warnOfLocalBase(folder: string, { stderr }: Terminal): Promise<void> {
  const path = join(folder, 'adapter_config.json');
  const hint = 'Download the file again, or repair it.';
  const json = await fromInput(() => readJsonFile(path, { expected: 'the settings of an adapter', hint }));
  const base = (json as { readonly base_model_name_or_path?: unknown } | null | undefined)?.base_model_name_or_path;
  if (typeof base !== 'string' || /^[\w.-]+\/[\w.-]+$/.test(base)) return;
  stderr.write(
    `${path}: base_model_name_or_path is ${base}, a path on this machine, which others do not have. Set it to org/name, the name ` +
      'of the model on the Hub.\n',
  );
}
