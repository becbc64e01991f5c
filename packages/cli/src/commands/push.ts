import { join } from 'node:path';
import { checkUpload, uploadModel } from '@wpo/data/hub';
import { readJsonFile } from '@wpo/internal/node/json-file';
import { withTransfers } from '../downloads';
import { fromInput } from '../errors';
import { wpoCommand } from '../invocation';
import type { PushConfig } from '../schemas/push';
import { counted } from '../terminal/format';
import { processTerminal, type Terminal } from '../terminal/terminal';

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
  const stopped = `stopped while uploading. ${wpoCommand()} push resumes the upload: files that have arrived are not sent again.`;
  const { url, files } = await withTransfers(terminal, { label: 'upload, MB', stopped }, ({ show, ...options }) =>
    fromInput(() => uploadModel(folder, repo, { ...options, isPrivate, onUpload: show })),
  );
  terminal.stdout.write(`Uploaded ${counted(files.length, 'file')} to ${url}\n`);
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
