import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text as textOf } from 'node:stream/consumers';

/** A repository of the hub. */
export interface Repository {
  readonly files: Readonly<Record<string, Buffer>>;
  /** Files in Git LFS: named by their SHA-256, and sent from another host. */
  readonly lfs?: readonly string[];
  readonly token?: string;
  readonly gated?: boolean;
}

/** A repository that was created or written to. */
export interface Uploaded {
  isPrivate?: boolean | undefined;
  readonly files: Record<string, Buffer>;
  readonly commits: string[];
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
  /** Send no response, and call this. */
  readonly stall?: () => void;
  /** Send the whole file, whatever range was requested. */
  readonly ignoreRange?: boolean;
}

export interface Request {
  readonly host: 'hub' | 'cdn';
  readonly method: string;
  readonly url: string;
  readonly range: string | undefined;
  readonly authorization: string | undefined;
}

export const COMMIT = '0123456789abcdef0123456789abcdef01234567';
const PAGE = 2; // files per page of a listing

/**
 * A server with the hub's protocol, and the second host that sends and receives its large files.
 *
 * @param accounts tokens that may write, each to the repositories of its account
 * @param transfer how it takes large files: by Git LFS, or by Xet, of which it keeps no content
 */
export async function hubServer(
  repositories: Readonly<Record<string, Repository>>,
  accounts: Readonly<Record<string, string>> = {},
  transfer: 'basic' | 'xet' = 'basic',
) {
  const uploaded: Record<string, Uploaded> = {};
  const objects = new Map<string, Buffer>();
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
      requests.push({ host, method: request.method!, url: request.url!, range, authorization });
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
    if (request.url!.startsWith('/v1/')) {
      // Xet: blocks of chunks, what files are made of, and a question whether a chunk is known
      const stall = faultOf(request)?.stall;
      if (stall !== undefined) return stall();
      const isSent = request.method === 'POST' && request.headers.authorization === 'Bearer xet';
      return void bytesOf(request).then(() => response.writeHead(isSent ? 200 : 404).end());
    }
    if (request.method === 'PUT') {
      const fault = faultOf(request);
      return void bytesOf(request).then((bytes) => {
        if (fault?.cutAfter !== undefined) return void response.destroy();
        if (fault?.status !== undefined) return void response.writeHead(fault.status, fault.headers).end(fault.body);
        if (sha256(bytes) === request.url!.split('/').at(-1)) objects.set(sha256(bytes), bytes);
        response.end();
      });
    }
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
    const upload =
      /^\/api\/(whoami-v2|repos\/create)$|\/(preupload|commit)\/main$|\.git\/info\/lfs\/objects\/batch$/.exec(path);
    if (upload !== null) return void receive(request, response, path, reject);
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

  /** The protocol of uploads: an account, a repository, which files are large, where to put them, and a commit. */
  const receive = async (
    request: IncomingMessage,
    response: ServerResponse,
    path: string,
    reject: (status: number, code?: string) => void,
  ) => {
    const body = await textOf(request);
    const fault = faultOf(request);
    if (fault?.status !== undefined) return void response.writeHead(fault.status, fault.headers).end(fault.body);
    const account = accounts[request.headers.authorization?.slice('Bearer '.length) ?? ''];
    const json = (value: unknown, status = 200) =>
      void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    if (account === undefined) return reject(401);
    if (path === '/api/whoami-v2') return json({ type: 'user', name: account, auth: { type: 'access_token' } });
    if (path === '/api/repos/create') {
      const { organization, name, visibility } = JSON.parse(body);
      if (organization !== account) return reject(403);
      const repo = `${organization}/${name}`;
      if (uploaded[repo] !== undefined) return json({ error: 'You already created this model repo' }, 409);
      uploaded[repo] = {
        isPrivate: visibility === undefined ? undefined : visibility === 'private',
        files: {},
        commits: [],
      };
      return json({ url: `/${repo}`, id: repo });
    }
    const [, repo = ''] = /^\/(?:api\/models\/)?([^/]+\/[^/]+?)(?:\.git)?\//.exec(path) ?? [];
    const target = uploaded[repo];
    if (target === undefined) return reject(404, 'RepoNotFound');
    if (path.includes('/preupload/')) {
      const { files } = JSON.parse(body) as { files: { path: string }[] };
      return json({
        files: files.map((file) => ({ ...file, uploadMode: file.path.endsWith('.safetensors') ? 'lfs' : 'regular' })),
      });
    }
    if (path.endsWith('/batch')) {
      const announced = (JSON.parse(body) as { objects: { oid: string; size: number }[] }).objects;
      const xet = {
        'X-Xet-Cas-Url': cdnUrl,
        'X-Xet-Access-Token': 'xet',
        'X-Xet-Token-Expiration': String(Math.floor(Date.now() / 1000) + 3600),
      };
      const action = (oid: string) => ({
        upload: { href: `${cdnUrl}/lfs/${oid}`, header: transfer === 'xet' ? xet : {} },
      });
      return json({
        transfer,
        objects: announced.map(({ oid, size }) => ({
          oid,
          size,
          ...(objects.has(oid) ? {} : { actions: action(oid) }),
        })),
      });
    }
    for (const line of body.split('\n')) {
      const { key, value } = JSON.parse(line);
      if (key === 'header') target.commits.push(value.summary);
      else if (key === 'lfsFile') target.files[value.path] = objects.get(value.oid)!;
      else target.files[value.path] = Buffer.from(value.content, value.encoding);
    }
    json({ commitOid: COMMIT, commitUrl: `${repo}/commit/${COMMIT}` });
  };

  const close = (server: Server) =>
    new Promise<void>((resolve) => {
      server.closeAllConnections();
      server.close(() => resolve());
    });
  return {
    url: hub.url,
    requests,
    uploaded,
    faults,
    moveTo(next: string) {
      commit = next;
    },
    close: () => Promise.all([close(hub.server), close(cdn.server)]),
  };
}

const bytesOf = async (request: IncomingMessage) => Buffer.concat(await request.toArray());

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
