import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type DownloadProgress, modelFolder } from '../../src/hub/index';
import { readRows } from '../../src/node';
import { collect, fixture } from '../fixtures';
import { COMMIT, gitId, hubServer, sha256 } from './hub-server';

const row = (name: string) => `{"prompt": "q", "chosen": "${name}", "rejected": "r"}\n`;
const lines = (name: string, count: number) => Buffer.from(row(name).repeat(count));
const TOKEN = 'hf_topSecret123';
const weights = Buffer.alloc(300_000, 'weights');
const parquet = readFileSync(fixture('sources/snappy.parquet'));

const repositories = {
  'datasets/org/pairs': {
    files: {
      'README.md': Buffer.from('# Pairs'),
      'data/train_prefs-00000-of-00002.jsonl': lines('a', 3),
      'data/train_prefs-00001-of-00002.jsonl': lines('b', 4000),
      'data/test_prefs-00000-of-00001.jsonl': lines('t', 2),
    },
    lfs: ['data/train_prefs-00001-of-00002.jsonl'],
  },
  'datasets/org/parquet': { files: { 'train.parquet': parquet }, lfs: ['train.parquet'] },
  'datasets/org/private': { files: { 'train.jsonl': lines('p', 2) }, lfs: ['train.jsonl'], token: TOKEN },
  'datasets/org/gated': { files: { 'train.jsonl': lines('g', 1) }, gated: true },
  'datasets/org/evil': { files: { '../../escaped.jsonl': lines('e', 1) } },
  'org/model': {
    files: {
      'config.json': Buffer.from('{}'),
      'model-00001-of-00001.safetensors': weights,
      'pytorch_model.bin': Buffer.alloc(10),
      'original/model.safetensors': Buffer.alloc(10),
    },
    lfs: ['model-00001-of-00001.safetensors', 'pytorch_model.bin'],
  },
  'org/nothing': { files: { 'README.md': Buffer.from('#') } },
  'org/gguf': { files: { 'a-Q4_K_M.gguf': Buffer.from('GGUF'), 'config.json': Buffer.from('{}') } },
  'org/pickle': { files: { 'pytorch_model.bin': Buffer.from('PK'), 'config.json': Buffer.from('{}') } },
};

let server: Awaited<ReturnType<typeof hubServer>>;
let home: string;

beforeAll(async () => {
  server = await hubServer(repositories);
});
afterAll(() => server.close());
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'wpo-hub-'));
  vi.stubEnv('HF_ENDPOINT', `${server.url}/`);
  vi.stubEnv('HF_HOME', home);
  for (const name of ['HF_TOKEN', 'HF_HUB_CACHE', 'HUGGINGFACE_HUB_CACHE', 'HF_HUB_OFFLINE'])
    vi.stubEnv(name, undefined);
  server.requests.length = 0;
  server.faults.length = 0;
  server.moveTo(COMMIT);
});
afterEach(() => {
  rmSync(home, { recursive: true });
  vi.unstubAllEnvs();
});

const quick = { retryDelay: 1 };
const chosenIn = async (name: string, options: { split?: string; onDownload?: (p: DownloadProgress) => void } = {}) =>
  (await collect(readRows(name, { ...quick, ...options }))).map(({ chosen }) => chosen);
const errorOf = (name: string) =>
  chosenIn(name).then(
    () => expect.unreachable(),
    (error: Error) => error,
  );
const folderOf = (repo: string) =>
  join(home, 'hub', repo.startsWith('datasets/') ? repo.replaceAll('/', '--') : `models--${repo.replace('/', '--')}`);
const blobs = (repo: string) => readdirSync(join(folderOf(repo), 'blobs')).sort();
const asked = (pattern: RegExp) => server.requests.filter(({ url }) => pattern.test(url));

describe('a data set by name', () => {
  it('is read from the files of one split, from all pages of the listing', async () => {
    const chosen = await chosenIn('hf://datasets/org/pairs');
    expect(chosen).toHaveLength(4003);
    expect(chosen.slice(0, 4)).toEqual(['a', 'a', 'a', 'b']);
    expect(await chosenIn('hf://datasets/org/pairs', { split: 'test_prefs' })).toEqual(['t', 't']);
    expect(asked(/README/)).toEqual([]);
  });

  it('may be a bare name, a file, a folder, a glob, a revision', async () => {
    expect(await chosenIn('org/pairs', { split: 'test_prefs' })).toHaveLength(2);
    expect(await chosenIn('hf://datasets/org/pairs/data/test_prefs-00000-of-00001.jsonl')).toHaveLength(2);
    expect(await chosenIn('hf://datasets/org/pairs@v1/data')).toHaveLength(4003);
    expect(await chosenIn('hf://datasets/org/pairs@refs/pr/1/**/t*-00000-*')).toEqual(['t', 't', 'a', 'a', 'a']);
    expect(await chosenIn(`hf://datasets/org/pairs@${COMMIT}/data/*prefs-00000-*`)).toHaveLength(5);
    expect(await chosenIn('hf://datasets/org/parquet')).toHaveLength(40);
  });

  it('names its rows by their path on the hub', async () => {
    const [first] = await collect(readRows('org/pairs', { ...quick, split: 'test_prefs' }));
    expect(first?.id).toBe('hf://datasets/org/pairs/data/test_prefs-00000-of-00001.jsonl:1');
  });

  it('is not used if there is a local path of that name', async () => {
    mkdirSync(join(home, 'org/pairs'), { recursive: true });
    writeFileSync(join(home, 'org/pairs/train.jsonl'), row('here'));
    const before = process.cwd();
    process.chdir(home);
    try {
      expect(await chosenIn('org/pairs')).toEqual(['here']);
    } finally {
      process.chdir(before);
    }
    expect(server.requests).toEqual([]);
  });

  it.each([
    ['hf://org/model', 'hf://org/model: expected the name of a data set, hf://datasets/org/name[@revision][/path].'],
    ['hf://datasets/pairs', 'expected the name of a data set'],
    ['hf://datasets/org/pairs/../x', 'expected the name of a data set'],
    ['hf://datasets/org/pairs@v9', 'the hub answered 404: the data set has no revision "v9".'],
    ['hf://datasets/org/pairs/x.jsonl', 'expected files that match x.jsonl in the data set, found none.'],
    [
      'hf://datasets/org/evil',
      'sent a response that is not the hub’s (the file "../../escaped.jsonl" has no valid path',
    ],
    ['hf://datasets/org/gated', `access must be granted: accept the terms at `],
    [
      'some/where',
      'hf://datasets/some/where: the hub answered 401: there is no such data set, or it is private, and there is no local path of that name. No HF_TOKEN is set: make a token at ',
    ],
    [
      'some/where.jsonl',
      'some/where.jsonl: expected a JSONL, JSON, CSV, TSV, Parquet or Arrow file, found no such file',
    ],
  ])('is reported with the reason if it cannot be read: %s', async (name, why) => {
    await expect(chosenIn(name)).rejects.toThrow(why);
  });
});

describe('the cache', () => {
  it('has Python’s layout, one blob per content, named by its checksum', async () => {
    await chosenIn('hf://datasets/org/pairs');
    const [small, large] = ['data/train_prefs-00000-of-00002.jsonl', 'data/train_prefs-00001-of-00002.jsonl'] as const;
    const files = repositories['datasets/org/pairs'].files;
    expect(blobs('datasets/org/pairs')).toEqual([gitId(files[small]), sha256(files[large])].sort());
    const folder = folderOf('datasets/org/pairs');
    expect(readFileSync(join(folder, 'refs/main'), 'utf8')).toBe(COMMIT);
    expect(JSON.parse(readFileSync(join(folder, 'trees', `${COMMIT}.json`), 'utf8'))).toMatchObject({
      format_version: 1,
      files: {
        [small]: { size: files[small].length, blob_id: gitId(files[small]) },
        [large]: { lfs_sha256: sha256(files[large]) },
      },
    });
    expect(readlinkSync(join(folder, 'snapshots', COMMIT, large))).toBe(join('../../../blobs', sha256(files[large])));
    expect(readFileSync(join(folder, 'snapshots', COMMIT, small))).toEqual(files[small]);
  });

  it('is used before the hub: its files are not downloaded again', async () => {
    await chosenIn('org/pairs');
    server.requests.length = 0;
    await chosenIn('org/pairs');
    expect(server.requests.map(({ url }) => url.split('?')[0])).toEqual(['/api/datasets/org/pairs/revision/main']);
    server.requests.length = 0;
    await chosenIn(`hf://datasets/org/pairs@${COMMIT}`);
    expect(server.requests).toEqual([]);
  });

  it('shares the files that two commits have in common', async () => {
    await chosenIn('org/pairs');
    server.moveTo('f'.repeat(40));
    await chosenIn('org/pairs');
    expect(asked(/00001-of-00002/).filter(({ host }) => host === 'cdn')).toHaveLength(1);
    expect(readdirSync(join(folderOf('datasets/org/pairs'), 'snapshots'))).toHaveLength(2);
  });

  it('is in the folder HF_HUB_CACHE', async () => {
    vi.stubEnv('HF_HUB_CACHE', join(home, 'elsewhere'));
    await chosenIn('org/parquet');
    expect(readdirSync(join(home, 'elsewhere'))).toEqual(['datasets--org--parquet']);
  });

  it('is not trusted if a blob has another length', async () => {
    await chosenIn('org/parquet');
    const blob = join(folderOf('datasets/org/parquet'), 'blobs', sha256(parquet));
    writeFileSync(blob, parquet.subarray(0, 100));
    expect(await chosenIn('org/parquet')).toHaveLength(40);
  });
});

describe('HF_HUB_OFFLINE', () => {
  it('uses the cache only, without requests', async () => {
    await chosenIn('org/pairs');
    vi.stubEnv('HF_HUB_OFFLINE', '1');
    server.requests.length = 0;
    expect(await chosenIn('org/pairs')).toHaveLength(4003);
    expect(server.requests).toEqual([]);
  });

  it('reads what Python has cached', async () => {
    const folder = folderOf('datasets/org/python');
    mkdirSync(join(folder, 'snapshots', COMMIT, 'data'), { recursive: true });
    mkdirSync(join(folder, 'blobs'));
    mkdirSync(join(folder, 'refs'));
    writeFileSync(join(folder, 'refs/main'), COMMIT);
    writeFileSync(join(folder, 'blobs/abc'), row('python'));
    symlinkSync('../../../blobs/abc', join(folder, 'snapshots', COMMIT, 'data/train.jsonl'));
    vi.stubEnv('HF_HUB_OFFLINE', 'TRUE');
    expect(await chosenIn('org/python')).toEqual(['python']);
  });

  it('names what the cache lacks: the repository or a single file', async () => {
    vi.stubEnv('HF_HUB_OFFLINE', '1');
    const hint = 'Download it once with HF_HUB_OFFLINE unset.';
    await expect(chosenIn('org/pairs')).rejects.toThrow(
      `HF_HUB_OFFLINE is set, and the cache does not hold the repository. ${hint}`,
    );
    vi.stubEnv('HF_HUB_OFFLINE', '0');
    await chosenIn('org/pairs', { split: 'test_prefs' });
    vi.stubEnv('HF_HUB_OFFLINE', '1');
    await expect(chosenIn('org/pairs')).rejects.toThrow(
      'the cache does not hold data/train_prefs-00000-of-00002.jsonl',
    );
  });
});

describe('a download', () => {
  const large = /-\/data\/train_prefs-00001/;
  const content = repositories['datasets/org/pairs'].files['data/train_prefs-00001-of-00002.jsonl'];
  const partial = () => join(folderOf('datasets/org/pairs'), 'blobs', `${sha256(content)}.incomplete`);

  /** A connection that is cut after `bytes`, once some of them have been written. */
  const cutOnceSome = (bytes: number) => {
    let onDownload: (progress: DownloadProgress) => void = () => {};
    const cutWhen = new Promise<void>((resolve) => {
      onDownload = ({ file, done }) => file.includes('00001-of') && done > 0 && resolve();
    });
    return { fault: { on: large, cutAfter: bytes, cutWhen }, onDownload };
  };

  it('resumes where the connection was cut', async () => {
    const { fault, onDownload } = cutOnceSome(70_000);
    server.faults.push(fault, { on: large, cutAfter: 0 });
    expect(await chosenIn('org/pairs', { onDownload })).toHaveLength(4003);
    const ranges = asked(large).map(({ range }) => Number(/^bytes=(\d+)-$/.exec(range!)?.[1]));
    expect(ranges).toEqual([0, ranges[1], ranges[1]]);
    expect(ranges[1]).toBeGreaterThan(0);
    expect(blobs('datasets/org/pairs')).toHaveLength(2);
  });

  it('resumes in a later process', async () => {
    const { fault, onDownload } = cutOnceSome(70_000);
    server.faults.push(fault, { on: large, times: 9, status: 404 });
    await expect(chosenIn('org/pairs', { onDownload })).rejects.toThrow('the hub answered 404');
    const left = readFileSync(partial());
    expect(left.length).toBeGreaterThan(0);
    server.faults.length = 0;
    server.requests.length = 0;
    expect(await chosenIn('org/pairs')).toHaveLength(4003);
    expect(asked(large).map(({ range }) => range)).toEqual([`bytes=${left.length}-`]);
  });

  it('resumes after a killed process, which left its lock', async () => {
    const blob = partial().replace('.incomplete', '');
    mkdirSync(`${blob}.lock`, { recursive: true });
    const minuteAgo = Date.now() / 1000 - 60;
    utimesSync(`${blob}.lock`, minuteAgo, minuteAgo);
    writeFileSync(partial(), content.subarray(0, 1234));
    expect(await chosenIn('org/pairs')).toHaveLength(4003);
    expect(asked(large).map(({ range }) => range)).toEqual(['bytes=1234-']);
    expect(readdirSync(join(blob, '..'))).toHaveLength(2);
  });

  it('starts over if the server sends the whole file', async () => {
    server.faults.push({ on: large, cutAfter: 70_000 }, { on: large, ignoreRange: true });
    expect(await chosenIn('org/pairs')).toHaveLength(4003);
  });

  it('fails if no more bytes arrive', async () => {
    server.faults.push({ on: large, cutAfter: 0, times: 99 });
    await expect(chosenIn('org/pairs')).rejects.toThrow(
      `data/train_prefs-00001-of-00002.jsonl: the download stopped at byte 0 of ${content.length} (`,
    );
  });

  it('with a wrong checksum is repeated once, and never becomes a blob', async () => {
    server.faults.push({ on: large, corrupt: true });
    expect(await chosenIn('org/pairs')).toHaveLength(4003);
    rmSync(home, { recursive: true });
    server.faults.push({ on: large, corrupt: true, times: 2 });
    await expect(chosenIn('org/pairs')).rejects.toThrow(
      `data/train_prefs-00001-of-00002.jsonl: expected bytes with the checksum ${sha256(content)}, found others in two downloads.`,
    );
    expect(blobs('datasets/org/pairs')).not.toContain(sha256(content));
  });

  it('checks small files against git’s own checksum', async () => {
    server.faults.push({ on: /resolve.*train_prefs-00000/, corrupt: true, times: 2 });
    await expect(chosenIn('org/pairs')).rejects.toThrow('found others in two downloads');
  });

  it('of one blob is shared by concurrent readers', async () => {
    const all = await Promise.all([1, 2, 3].map(() => chosenIn('org/parquet')));
    expect(all.map(({ length }) => length)).toEqual([40, 40, 40]);
    expect(server.requests.filter(({ host }) => host === 'cdn')).toHaveLength(1);
  });

  it('is aborted if another file fails', async () => {
    server.faults.push(
      { on: large, cutAfter: 1000, cutWhen: new Promise(() => {}) }, // hangs
      { on: /resolve.*train_prefs-00000/, status: 404 },
    );
    await expect(chosenIn('org/pairs')).rejects.toThrow('the hub answered 404');
    expect(readdirSync(join(partial(), '..')).filter((name) => name.endsWith('.lock'))).toEqual([]);
  });

  it('reports its progress', async () => {
    const seen: DownloadProgress[] = [];
    await chosenIn('org/pairs', { onDownload: (progress) => seen.push(progress) });
    const total = 4003 * row('a').length;
    expect(seen.at(-1)).toMatchObject({ done: total, total });
    expect(seen.map(({ done }) => done)).toEqual(seen.map(({ done }) => done).sort((a, b) => a - b));
  });
});

describe('a busy hub', () => {
  it('is requested again after 429, 5xx and a cut connection', async () => {
    server.faults.push(
      { on: /revision/, status: 429, headers: { 'retry-after': '0' } },
      { on: /revision/, status: 503 },
      { on: /tree/, status: 500 },
      { on: /tree/, cutAfter: 10 },
      { on: /-\/train/, status: 502 },
    );
    expect(await chosenIn('org/parquet')).toHaveLength(40);
  });

  it.each([
    [429, 'too many requests, after 5 attempts'],
    [500, 'an internal error, after 5 attempts'],
  ])('is reported after five responses with status %d', async (status, why) => {
    server.faults.push({ on: /revision/, status, times: 99 });
    await expect(chosenIn('org/parquet')).rejects.toThrow(`the hub answered ${status}: ${why}`);
    expect(server.requests).toHaveLength(5);
  });

  it('is distinguished from a server that is not a hub, and from one that cannot be reached', async () => {
    server.faults.push({ on: /revision/, status: 200, body: '<html>Welcome to the hotel' });
    await expect(chosenIn('org/parquet')).rejects.toThrow('sent a response that is not the hub’s. Check HF_ENDPOINT.');
    const gone = await hubServer({});
    await gone.close();
    vi.stubEnv('HF_ENDPOINT', gone.url);
    await expect(chosenIn('org/parquet')).rejects.toThrow(
      `${gone.url} could not be reached (ECONNREFUSED) in 5 attempts. Set HF_HUB_OFFLINE=1 to use the cache only.`,
    );
    vi.stubEnv('HF_ENDPOINT', 'http://user:word@127.0.0.1:1');
    expect((await errorOf('org/parquet')).message).not.toContain('word@');
  });
});

describe('HF_TOKEN', () => {
  it('gives access to private repositories, and is sent to no other host', async () => {
    vi.stubEnv('HF_TOKEN', `${TOKEN}\n`);
    expect(await chosenIn('org/private')).toHaveLength(2);
    const [hub, cdn] = [
      server.requests.filter(({ host }) => host === 'hub'),
      server.requests.filter(({ host }) => host === 'cdn'),
    ];
    expect(hub.map(({ authorization }) => authorization)).toEqual(hub.map(() => `Bearer ${TOKEN}`));
    expect(cdn.map(({ authorization }) => authorization)).toEqual([undefined]);
  });

  it('does not appear in any error', async () => {
    vi.stubEnv('HF_TOKEN', TOKEN);
    const errors = [await errorOf('org/none'), await errorOf('org/gated'), await errorOf('hf://datasets/org/pairs@v9')];
    server.faults.push({ on: /revision/, status: 500, times: 99, body: TOKEN });
    errors.push(await errorOf('org/private'));
    server.faults.length = 0;
    server.faults.push({ on: /-\/train/, status: 404, times: 99 });
    errors.push(await errorOf('org/private'));
    vi.stubEnv('HF_TOKEN', 'another');
    errors.push(await errorOf('org/private'));
    expect(errors.at(-1)?.message).toContain('HF_TOKEN was sent: check that it grants access.');
    vi.stubEnv('HF_TOKEN', `${TOKEN}\nmore`);
    errors.push(await errorOf('org/private'));
    for (const error of errors) {
      for (let shown: unknown = error; shown instanceof Error; shown = shown.cause) {
        const text = `${shown.message} ${shown.stack} ${JSON.stringify(shown)}`;
        expect(text).not.toContain(TOKEN);
        expect(text).not.toContain('signed-secret');
      }
    }
  });
});

describe('modelFolder', () => {
  it('downloads weights, configurations and tokenizer, and nothing else', async () => {
    const folder = await modelFolder('org/model', quick);
    expect(folder).toBe(join(folderOf('org/model'), 'snapshots', COMMIT));
    expect(readdirSync(folder).sort()).toEqual(['config.json', 'model-00001-of-00001.safetensors']);
    expect(readFileSync(join(folder, 'model-00001-of-00001.safetensors'))).toEqual(weights);
    expect(await modelFolder(`hf://org/model@${COMMIT}`, quick)).toBe(folder);
  });

  it('returns a path as it is', async () => {
    expect(await modelFolder('models/a/b')).toBe('models/a/b');
    expect(await modelFolder('/models/gemma')).toBe('/models/gemma');
    expect(await modelFolder('./models')).toBe('./models');
    expect(await modelFolder('packages/data')).toBe('packages/data'); // it exists
    expect(server.requests).toEqual([]);
  });

  it('fails if the model cannot be downloaded', async () => {
    await expect(modelFolder('org/none', quick)).rejects.toThrow(
      'hf://org/none: the hub answered 401: there is no such model',
    );
    await expect(modelFolder('org/nothing', quick)).rejects.toThrow(
      'hf://org/nothing: expected the weights of a model in safetensors, found no .safetensors file. Use another model.',
    );
    await expect(modelFolder('org/gguf', quick)).rejects.toThrow(
      'found GGUF files, which llama.cpp reads. Use the model that',
    );
    await expect(modelFolder('org/pickle', quick)).rejects.toThrow(
      'found PyTorch files. Save the model in safetensors with',
    );
    await expect(modelFolder('hf://datasets/org/pairs')).rejects.toThrow(
      'expected the name of a model, hf://org/name.',
    );
  });
});
