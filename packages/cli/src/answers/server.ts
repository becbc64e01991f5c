import { createEndpoint, type Endpoint, type RequestFields } from '@wpo/eval/node';
import { UserError } from '../errors';
import type { StopSignal } from '../terminal/signals';
import type { Terminal } from '../terminal/terminal';

export interface ServerOptions {
  /** Address of the server. */
  readonly url: string;
  /** The model's name on the server. */
  readonly model: string | undefined;
  readonly request?: RequestFields | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Seconds. */
  readonly timeout: number;
  readonly retries: number;
}

/** A client for a server that stops at signals and prints what the user should know. */
export function connect(options: ServerOptions, { signal }: StopSignal, { stderr }: Terminal): Endpoint {
  const { url, model, request, headers = {}, timeout, retries } = options;
  return createEndpoint({
    url,
    model,
    request,
    headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, expand(name, value)])),
    timeout: timeout * 1000,
    retries,
    signal,
    onNotice: (text) => void stderr.write(`${text}\n`),
  });
}

/** Replaces `${NAME}` by the environment variable, so that keys need not be in files or on the command line. */
const expand = (header: string, value: string): string =>
  value.replace(/\$\{(\w+)\}/g, (_, name: string) => {
    const found = process.env[name]?.trim();
    if (found) return found;
    throw new UserError(`headers: ${header}: expected the environment variable ${name}, found none. Set it.`);
  });
