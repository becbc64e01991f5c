import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, test, vi } from 'vitest';
import { type HubOptions, modelFolder } from '../../src/hub/index';
import { readRows } from '../../src/node';
import { collect } from '../fixtures';
import { COMMIT, gitId, sha256 } from './hub-server';

const TOKEN = 'hf_topSecret123';
const rows = Buffer.from('{"prompt": "q", "chosen": "c", "rejected": "r"}\n'.repeat(1000));

let home: string;
const servers: Server[] = [];

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'wpo-hostile-'));
  vi.stubEnv('HF_HOME', join(home, 'cache'));
  vi.stubEnv('HF_TOKEN', TOKEN);
  for (const name of ['HF_HUB_CACHE', 'HUGGINGFACE_HUB_CACHE', 'HF_HUB_OFFLINE']) vi.stubEnv(name, undefined);
});
afterEach(() => {
  vi.unstubAllEnvs();
  for (const server of servers.splice(0)) server.close().closeAllConnections();
  rmSync(home, { recursive: true });
});

async function serve(handle: RequestListener): Promise<string> {
  const server = createServer(handle);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

interface Script {
  readonly revision?: RequestListener;
  readonly tree?: RequestListener;
  readonly file?: RequestListener;
}

const entry = (path: string, content = rows) => ({ type: 'file', path, size: content.length, oid: gitId(content) });
const json =
  (value: unknown, headers: Record<string, string> = {}): RequestListener =>
  (_, response) =>
    void response.writeHead(200, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value));

/** A hub with one data set of one file. Some of its replies may be replaced. */
async function hub(script: Script = {}): Promise<string[]> {
  const urls: string[] = [];
  const endpoint = await serve((request, response) => {
    urls.push(request.url!);
    if (request.url!.includes('/revision/')) (script.revision ?? json({ sha: COMMIT }))(request, response);
    else if (request.url!.includes('/tree/')) (script.tree ?? json([entry('train.jsonl')]))(request, response);
    else (script.file ?? ((_, response) => void response.end(rows)))(request, response);
  });
  vi.stubEnv('HF_ENDPOINT', endpoint);
  return urls;
}

const read = (options: HubOptions = {}, name = 'hf://datasets/org/pairs') =>
  collect(readRows(name, { retryDelay: 1, ...options }));

test('the scripted hub serves a data set', async () => {
  await hub();
  expect(await read()).toHaveLength(1000);
});

describe('names', () => {
  test.each([
    '..%2F..%2Fescaped',
    '..%2f..%2fescaped',
    'a%2F..%2F..%2Fescaped',
    '%2Fetc%2Fescaped',
    '..%5C..%5Cescaped',
    'a%00b',
    'a%0Ab',
    '%2E%2E',
    '.',
    'a%',
    'x'.repeat(300),
  ])('the revision %s writes nothing outside the cache', async (revision) => {
    const urls = await hub();
    await expect(read({}, `hf://datasets/org/pairs@${revision}`)).rejects.toThrow(
      /: expected (a branch, tag or commit after @|the name of a data set)/,
    );
    await expect(modelFolder(`hf://org/model@${revision}`)).rejects.toThrow(/expected/);
    expect(urls).toEqual([]);
    expect(readdirSync(home)).toEqual([]);
  });

  it('a revision with an encoded slash is a branch', async () => {
    await hub();
    expect(await read({}, 'hf://datasets/org/pairs@feature%2Fone')).toHaveLength(1000);
    expect(existsSync(join(home, 'cache/hub/datasets--org--pairs/refs/feature/one'))).toBe(true);
  });

  test.each([
    '../../escaped.jsonl',
    '/escaped.jsonl',
    'a/../../../escaped.jsonl',
    'a\\..\\escaped.jsonl',
    'a//b.jsonl',
    'a\0.jsonl',
  ])('the file %j in a list is refused', async (path) => {
    await hub({ tree: json([entry(path)]) });
    await expect(read()).rejects.toThrow('has no valid path, size or checksum');
  });

  it('with terminal escapes are not printed raw', async () => {
    await hub({ tree: json([entry('\x1b[2J\x9b.jsonl')]) });
    await expect(read()).rejects.toThrow('the file "\\u001b[2J\\u009b.jsonl" has no valid path');
  });
});

describe('endless and huge replies', () => {
  it('a list without end is refused', async () => {
    const entries = Array.from({ length: 1000 }, (_, i) => entry(`data/${i}.jsonl`));
    let page = 0;
    const urls = await hub({
      tree: (request, response) => {
        const next = `<http://${request.headers.host}/api/datasets/org/pairs/tree/${COMMIT}?cursor=${++page}>; rel="next"`;
        json(entries, { link: next })(request, response);
      },
    });
    await expect(read()).rejects.toThrow('expected a list of at most 200000 files in 1000 replies, found more');
    expect(urls.length).toBeLessThan(210);
  });

  it('a list of empty pages without end is refused', async () => {
    const urls = await hub({
      tree: (request, response) =>
        json([], { link: `<http://${request.headers.host}${request.url}>; rel="next"` })(request, response),
    });
    await expect(read()).rejects.toThrow('found more');
    expect(urls).toHaveLength(1001);
  });

  it('a reply without end is refused after 32 MiB, once', async () => {
    let sent = 0;
    const urls = await hub({
      revision(_, response) {
        const more = () => {
          while (!response.destroyed && response.write(Buffer.alloc(2 ** 20, 0x20))) sent += 2 ** 20;
        };
        response.writeHead(200, { 'content-type': 'application/json' }).on('drain', more);
        more();
      },
    });
    await expect(read()).rejects.toThrow(/sent a reply of more than 33554432 bytes\. Check HF_ENDPOINT\./);
    expect(urls).toHaveLength(1);
    expect(sent).toBeLessThan(2 ** 27);
  });

  it('a file without end stops at its size, and its checksum is refused', async () => {
    await hub({
      file(_, response) {
        const more = () => {
          while (!response.destroyed && response.write(Buffer.alloc(2 ** 16))) {}
        };
        response.on('drain', more);
        more();
      },
    });
    await expect(read()).rejects.toThrow('found others in two downloads');
  });

  it('files larger than the free disk space are refused before the download', async () => {
    const file = { type: 'file', path: 'train.jsonl', size: 2 ** 52, oid: gitId(rows) };
    const urls = await hub({ tree: json([file]) });
    await expect(read()).rejects.toThrow(
      /: expected 4503599627370496 bytes of free disk space for the download, found \d+/,
    );
    expect(urls).toHaveLength(2);
  });
});

describe('slow replies', () => {
  it('a reply that never begins is requested again, then reported', async () => {
    const urls = await hub({ revision: () => {} });
    await expect(read({ timeout: 30 })).rejects.toThrow('could not be reached (no reply within 1 s) in 5 attempts');
    expect(urls).toHaveLength(5);
  });

  it('a file that arrives a byte at a time is reported', async () => {
    await hub({
      file(request, response) {
        const from = Number(/bytes=(\d+)-/.exec(request.headers.range!)![1]);
        response.writeHead(206, { 'content-range': `bytes ${from}-${rows.length - 1}/${rows.length}` });
        const timer = setInterval(() => response.write('x'), 10);
        response.on('close', () => clearInterval(timer));
      },
    });
    await expect(read({ timeout: 40 })).rejects.toThrow(
      /train\.jsonl: the download stopped at byte \d+ of \d+ \(fewer than 10000 bytes in 1 s\)\. Run it again to resume\./,
    );
  });

  it('a wait of a day is not sat out, and shorter ones are announced', async () => {
    const urls = await hub({
      revision: (_, response) => void response.writeHead(429, { 'retry-after': '86400' }).end(),
    });
    await expect(read()).rejects.toThrow(
      'the hub answered 429 and asks to wait 24 h. Try again then, or set HF_TOKEN.',
    );
    expect(urls).toHaveLength(1);
    await hub({ revision: (_, response) => void response.writeHead(503, { 'retry-after': '99' }).end() });
    const stop = new AbortController();
    const waits: number[] = [];
    const onWait = (wait: number) => {
      waits.push(wait);
      stop.abort(new Error('stopped'));
    };
    await expect(read({ onWait, signal: stop.signal })).rejects.toThrow('stopped');
    expect(waits).toEqual([99_000]);
  });
});

describe('the token', () => {
  it('is sent to no other host, whatever redirects', async () => {
    const seen: (string | undefined)[] = [];
    const other = await serve((request, response) => {
      seen.push(request.headers.authorization);
      response.writeHead(404).end();
    });
    const redirect: RequestListener = (_, response) => void response.writeHead(307, { location: `${other}/x` }).end();
    const link = json([], { link: `<${other}/api/next>; rel="next"` });
    for (const script of [{ revision: redirect }, { tree: redirect }, { tree: link }, { file: redirect }]) {
      await hub(script);
      await expect(read()).rejects.toThrow('the hub answered 404');
    }
    expect(seen).toEqual([undefined, undefined, undefined, undefined]);
  });

  it('is not printed, though the server repeats it', async () => {
    await hub({ revision: json({ sha: TOKEN }), tree: json([]) });
    await expect(read()).rejects.not.toThrow(TOKEN);
    await hub({ tree: json([entry(`${TOKEN}/../x`)]) });
    await expect(read()).rejects.toThrow(/the file "\*\*\*/);
  });

  it('redirects without end are reported', async () => {
    const urls = await hub({
      revision: (request, response) => void response.writeHead(302, { location: request.url! }).end(),
    });
    await expect(read()).rejects.toThrow('could not be reached (redirect count exceeded)');
    expect(urls.length).toBeLessThan(200);
  });
});

it('an aborted download keeps its bytes, and the next one resumes it', async () => {
  const ranges: (string | undefined)[] = [];
  const content = Buffer.alloc(300_000, rows);
  const file = {
    type: 'file',
    path: 'train.jsonl',
    size: content.length,
    oid: '0'.repeat(40),
    lfs: { oid: sha256(content), size: 1, pointerSize: 1 },
  };
  let hold = true;
  await hub({
    tree: json([file]),
    file(request, response) {
      ranges.push(request.headers.range);
      const from = Number(/bytes=(\d+)-/.exec(request.headers.range!)![1]);
      response.writeHead(206, { 'content-range': `bytes ${from}-${content.length - 1}/${content.length}` });
      if (hold) response.write(content.subarray(0, 100_000));
      else response.end(content.subarray(from));
    },
  });
  const stop = new AbortController();
  const options = {
    signal: stop.signal,
    onDownload: ({ done }: { done: number }) => done === 100_000 && stop.abort(new Error('stopped')),
  };
  await expect(read(options)).rejects.toThrow('stopped');
  hold = false;
  expect((await read()).length).toBeGreaterThan(6000);
  expect(ranges).toEqual(['bytes=0-', 'bytes=100000-']);
});
