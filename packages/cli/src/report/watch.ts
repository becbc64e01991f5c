import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type RunReport, reportPage, runReport } from '@wpo/report';
import { UserError } from '../errors';
import type { RunFolder } from '../training/run-folder';
import { readRunFolder } from './read-run';

/** Seconds between two looks of the page. */
const EVERY = 3;

/** A server that shows the report of a run while it trains. */
export interface WatchServer {
  /** The address of the page. */
  readonly url: string;
  dispose(): void;
}

/**
 * Serves the report of a run on this machine only, on the loopback interface. Requests under another name than `127.0.0.1` or
 * `localhost` are refused: a web page elsewhere could give its own name this address (DNS rebinding), and read the report.
 *
 * @param port a port, or true for a free one
 * @throws {UserError} if the port is not free
 */
export async function watchRun(folder: RunFolder, port: number | true): Promise<WatchServer> {
  const read = reader(folder);
  const server = createServer((request, response) => void answer(request, response, read));
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const { code } = error;
      const isTaken = code === 'EADDRINUSE' || code === 'EACCES';
      const hint = 'Give another port, or --watch alone for a free one.';
      reject(isTaken ? new UserError(`--watch: expected a free port, found ${port} in use (${code}). ${hint}`) : error);
    });
    server.listen(port === true ? 0 : port, '127.0.0.1', resolve);
  });
  server.unref();
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    dispose() {
      server.close();
      server.closeAllConnections();
    },
  };
}

const HEADERS = {
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'cross-origin-resource-policy': 'same-origin',
};

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  read: () => Promise<RunReport>,
): Promise<void> {
  const send = (status: number, type: string, body: string) =>
    void response.writeHead(status, { ...HEADERS, 'content-type': `${type}; charset=utf-8` }).end(body);
  const { method, url, headers, socket } = request;
  const hosts = ['127.0.0.1', 'localhost'].map((name) => `${name}:${socket.localPort}`);
  if (!hosts.includes(headers.host ?? '')) return send(403, 'text/plain', `Open http://${hosts[0]}/ instead.\n`);
  if (method !== 'GET') return send(405, 'text/plain', 'The report can be read only.\n');
  if (url !== '/' && url !== '/data') return send(404, 'text/plain', 'The report is at /.\n');
  try {
    const report = await read();
    if (url === '/data') send(200, 'application/json', JSON.stringify({ runs: [report] }));
    else send(200, 'text/html', reportPage([report], { data: '/data', every: EVERY }));
  } catch (error) {
    send(500, 'text/plain', `${error instanceof Error ? error.message : String(error)}\n`);
  }
}

/** Reads the report, for a share of at most a tenth of the time: the run's log of pairs may have 100,000 rows. */
function reader(folder: RunFolder): () => Promise<RunReport> {
  let last: Promise<RunReport> | undefined;
  let validUntil = 0;
  return () => {
    const started = performance.now();
    if (last === undefined || started >= validUntil) {
      validUntil = Number.POSITIVE_INFINITY;
      last = readRunFolder(folder).then(runReport);
      const done = () => {
        validUntil = performance.now() + 10 * (performance.now() - started);
      };
      last.then(done, done);
    }
    return last;
  };
}
