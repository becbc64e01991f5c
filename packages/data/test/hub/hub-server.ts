import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A repository of the hub. */
export interface Repository {
  readonly files: Readonly<Record<string, Buffer>>;
  /** Files in Git LFS: named by their SHA-256, and sent from another host. */
  readonly lfs?: readonly string[];
  readonly token?: string;
  readonly gated?: boolean;
}

/** A fault of the server, for the first `times` requests whose URL matches `on`. */
export interface Fault {
  readonly on: RegExp;
  times?: number;
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Body of the response. */
  readonly body?: string;
  /** Close the connection after this number of bytes of the response. */
  readonly cutAfter?: number;
  /** Wait for this before closing it. */
  readonly cutWhen?: Promise<unknown>;
  /** Change the first byte of the response. */
  readonly corrupt?: boolean;
  /** Send the whole file, whatever range was requested. */
  readonly ignoreRange?: boolean;
}

export interface Request {
  readonly host: 'hub' | 'cdn';
  readonly url: string;
  readonly range: string | undefined;
  readonly authorization: string | undefined;
}

export const COMMIT = '0123456789abcdef0123456789abcdef01234567';
const PAGE = 2; // files per page of a listing

/** A server with the hub's protocol, and the second host that sends its large files. */
export async function hubServer(repositories: Readonly<Record<string, Repository>>) {
  const requests: Request[] = [];
  const faults: Fault[] = [];
  let commit = COMMIT;
  let cdnUrl = '';

  const listen = async (
    host: Request['host'],
    handle: (request: IncomingMessage, response: ServerResponse) => void,
  ) => {
    const server = createServer((request, response) => {
      const { range, authorization } = request.headers;
      requests.push({ host, url: request.url!, range, authorization });
      handle(request, response);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
  };

  const faultOf = (request: IncomingMessage) => {
    const fault = faults.find(({ on, times = 1 }) => times > 0 && on.test(request.url!));
    if (fault !== undefined) fault.times = (fault.times ?? 1) - 1;
    return fault;
  };

  const send = (
    request: IncomingMessage,
    response: ServerResponse,
    content: Buffer,
    headers: Record<string, string>,
  ) => {
    const fault = faultOf(request);
    if (fault?.status !== undefined) return void response.writeHead(fault.status, fault.headers).end(fault.body);
    const from = fault?.ignoreRange ? undefined : /^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1];
    const part = Buffer.from(content.subarray(Number(from ?? 0)));
    if (fault?.corrupt && part.length > 0) part[0]! ^= 1;
    const range = `bytes ${from}-${content.length - 1}/${content.length}`;
    response.writeHead(from === undefined ? 200 : 206, {
      ...headers,
      'content-length': String(part.length),
      ...(from === undefined ? {} : { 'content-range': range }),
      ...fault?.headers,
    });
    if (fault?.cutAfter === undefined) return void response.end(part);
    response.write(
      part.subarray(0, fault.cutAfter),
      () => void (fault.cutWhen ?? Promise.resolve()).then(() => response.destroy()),
    );
  };

  const cdn = await listen('cdn', (request, response) => {
    const [, repo, path] = /^\/([^?]+?)\/-\/([^?]+)/.exec(decodeURIComponent(request.url!))!;
    send(request, response, repositories[repo!]!.files[path!]!, { etag: '"cdn"' });
  });
  cdnUrl = cdn.url;

  const hub = await listen('hub', (request, response) => {
    const url = new URL(request.url!, 'http://hub');
    const path = decodeURIComponent(url.pathname);
    const [, api, repo, what, rest] =
      /^(\/api)?\/((?:datasets\/|models\/)?[^/]+\/[^/]+)\/(revision|tree|resolve)\/(.+)$/.exec(path) ?? [];
    const name = api ? repo!.replace(/^models\//, '') : repo!;
    const found = repositories[name ?? ''];
    const reject = (status: number, code?: string) => {
      const headers = { 'content-type': 'application/json', ...(code === undefined ? {} : { 'x-error-code': code }) };
      // a careless server that repeats the token it was sent
      response.writeHead(status, headers).end(JSON.stringify({ error: `rejected ${request.headers.authorization}` }));
    };
    if (found === undefined) return reject(401, 'RepoNotFound');
    if (found.token !== undefined && request.headers.authorization !== `Bearer ${found.token}`) return reject(401);
    const json = (value: unknown, headers: Record<string, string> = {}) =>
      send(request, response, Buffer.from(JSON.stringify(value)), { 'content-type': 'application/json', ...headers });

    if (what === 'revision') {
      if (!/^(main|v1|refs\/pr\/1)$/.test(rest!)) return reject(404, 'RevisionNotFound');
      return json({ _id: '1', id: name, sha: commit, private: false, lastModified: '2024-01-01T00:00:00.000Z' });
    }
    if (what === 'tree') {
      if (rest !== commit) return reject(404, 'RevisionNotFound');
      const from = Number(url.searchParams.get('cursor') ?? 0);
      const entries = Object.entries(found.files).slice(from, from + PAGE);
      const more = from + PAGE < Object.keys(found.files).length;
      const next = `<http://${request.headers.host}${url.pathname}?recursive=true&cursor=${from + PAGE}>; rel="next"`;
      const tree = [{ type: 'directory', path: 'data', oid: '0'.repeat(40), size: 0 }];
      return json([...(from === 0 ? tree : []), ...entries.map(([file, content]) => entryOf(found, file, content))], {
        ...(more ? { link: next } : {}),
      });
    }
    const file = rest!.slice(commit.length + 1);
    const content = found.files[file];
    if (content === undefined) return reject(404, 'EntryNotFound');
    if (found.gated) return reject(403, 'GatedRepo');
    const headers = { 'x-repo-commit': commit, 'accept-ranges': 'bytes' };
    if (!found.lfs?.includes(file))
      return send(request, response, content, { ...headers, etag: `"${gitId(content)}"` });
    const location = `${cdnUrl}/${name}/-/${file}?Signature=signed-secret`;
    response.writeHead(302, {
      ...headers,
      location,
      'x-linked-etag': `"${sha256(content)}"`,
      'x-linked-size': content.length,
    });
    response.end();
  });

  const close = (server: Server) =>
    new Promise<void>((resolve) => {
      server.closeAllConnections();
      server.close(() => resolve());
    });
  return {
    url: hub.url,
    requests,
    faults,
    moveTo(next: string) {
      commit = next;
    },
    close: () => Promise.all([close(hub.server), close(cdn.server)]),
  };
}

const entryOf = ({ lfs }: Repository, path: string, content: Buffer) => ({
  type: 'file',
  path,
  size: content.length,
  oid: gitId(content),
  ...(lfs?.includes(path) ? { lfs: { oid: sha256(content), size: content.length, pointerSize: 130 } } : {}),
});

export const sha256 = (content: Buffer) => createHash('sha256').update(content).digest('hex');
export const gitId = (content: Buffer) =>
  createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');
