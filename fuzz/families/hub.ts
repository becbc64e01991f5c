// Replies of a hostile hub: revisions, lists of files, redirects, headers and contents.
import { createHash } from 'node:crypto';
import { existsSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { modelFolder } from '@wpo/data/hub';
import { readRows } from '@wpo/data/node';
import fc from 'fast-check';
import { expectPlainError, type Family, mutatedJson, mutatedText } from '../family';

const TOKEN = 'hf_plantedTokenOfTheFamily';
const COMMIT = '0123456789abcdef0123456789abcdef01234567';
const rows = Buffer.from('{"prompt": "q", "chosen": "c", "rejected": "r"}\n'.repeat(20));
const oid = createHash('sha1').update(`blob ${rows.length}\0`).update(rows).digest('hex');
const sha256 = createHash('sha256').update(rows).digest('hex');

const info = { _id: '1', id: 'org/pairs', sha: COMMIT, private: false, lastModified: '2024-01-01T00:00:00.000Z' };
const file = (path: string) => ({ type: 'file', path, size: rows.length, oid });
const tree = [
  { type: 'directory', path: 'data', oid: '0'.repeat(40), size: 0 },
  file('data/train.jsonl'),
  file('config.json'),
  { ...file('model.safetensors'), lfs: { oid: sha256, size: rows.length, pointerSize: 130 } },
];

/** One kind of reply of the hub. */
interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

const json = (...seeds: unknown[]) =>
  fc.oneof(
    { weight: 3, arbitrary: mutatedJson(seeds).map((value) => JSON.stringify(value) ?? '') },
    { weight: 1, arbitrary: mutatedText(seeds.map((seed) => JSON.stringify(seed))) },
    { weight: 2, arbitrary: fc.constantFrom(...seeds.map((seed) => JSON.stringify(seed))) },
  );
const header = fc.constantFrom<Record<string, string>>(
  { 'retry-after': '0' },
  { 'retry-after': '86400' },
  { 'retry-after': '1e400' },
  { 'retry-after-ms': '-1' },
  { 'x-error-code': 'RevisionNotFound' },
  { 'x-error-code': '\\u001b[2J' },
  { location: '/redirected' },
  { location: 'http://[' },
  { location: 'file:///etc/passwd' },
  { location: 'OTHER' },
  { link: '<ITSELF>; rel="next"' },
  { link: '<OTHER>; rel="next"' },
  { link: '<nonsense' },
  { 'content-range': 'bytes 5-9/10' },
  { 'content-range': 'bytes 0-1/1e99' },
  { 'content-encoding': 'gzip' },
  { 'content-length': '3' },
  { 'content-type': 'text/html' },
);
const reply = (body: fc.Arbitrary<string>): fc.Arbitrary<Reply> =>
  fc.record({
    status: fc.oneof(
      { weight: 6, arbitrary: fc.constant(200) },
      { weight: 2, arbitrary: fc.constantFrom(206, 302, 307, 401, 403, 404, 429, 500, 503) },
    ),
    headers: fc.oneof({ weight: 3, arbitrary: fc.constant({}) }, { weight: 1, arbitrary: header }),
    body,
  });

const revision = fc.oneof(
  fc.constant('main'),
  mutatedText(['v1', 'refs%2Fpr%2F1', '..%2F..%2Fescaped', 'a%5C..', '%2Fetc']),
);

interface Input {
  readonly kind: 'dataset' | 'model';
  readonly revision: string;
  readonly replies: Readonly<Record<'revision' | 'tree' | 'file', Reply>>;
}

let script: Input['replies'];
const leaks: string[] = [];
let requests = 0;
const other = createServer((request, response) => {
  if (request.headers.authorization !== undefined) leaks.push(request.headers.authorization);
  response.end('[]');
});
const hub = createServer((request, response) => {
  if (++requests > 5000) throw new Error('more than 5000 requests');
  const kind = request.url!.includes('/revision/') ? 'revision' : request.url!.includes('/tree/') ? 'tree' : 'file';
  const { status, headers, body } = script[kind];
  const place = (text: string) =>
    text.replace('OTHER', addressOf(other)).replace('ITSELF', `${addressOf(hub)}${request.url}`);
  const found = Object.entries(headers).map(([name, value]) => [name, place(value)] as const);
  response.on('error', () => {});
  try {
    response.writeHead(status, Object.fromEntries(found)).end(body.replace('TOKEN', TOKEN));
  } catch {
    response.destroy(); // a header that Node refuses to send
  }
});
const addressOf = (server: typeof hub) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
await Promise.all([hub, other].map((server) => new Promise<void>((done) => server.listen(0, '127.0.0.1', done))));

export const family: Family<Input> = {
  name: 'hub',
  input: fc.record({
    kind: fc.constantFrom('dataset', 'model'),
    revision,
    replies: fc.record({
      revision: reply(json(info)),
      tree: reply(json(tree)),
      file: reply(fc.oneof(fc.constant(rows.toString()), mutatedText([rows.toString()]), fc.constant('TOKEN'))),
    }),
  }),
  async check({ kind, revision, replies }, { folder, count }) {
    script = replies;
    requests = 0;
    const home = join(folder, 'deep/er/home');
    Object.assign(process.env, { HF_ENDPOINT: addressOf(hub), HF_TOKEN: TOKEN, HF_HOME: home });
    const options = { retryDelay: 0, timeout: 1000 };
    try {
      if (kind === 'model') await modelFolder(`hf://org/model@${revision}`, options);
      else for await (const _ of readRows(`hf://datasets/org/pairs@${revision}`, { ...options, onBadRow: 'skip' }));
      count(`${kind} read`);
    } catch (error) {
      expectPlainError(error);
      if (error.message.includes(TOKEN)) throw new Error(`the token is printed: ${error.message}`);
      count(`${kind} refused`);
    }
    if (leaks.length > 0) throw new Error('the token was sent to another host');
    const escaped = ['escaped', 'deep/escaped', 'deep/er/escaped', 'deep/er/home/escaped', 'deep/er/home/hub/escaped'];
    if (escaped.some((path) => existsSync(join(folder, path)))) throw new Error('a file outside the cache');
    rmSync(home, { recursive: true, force: true });
  },
};
