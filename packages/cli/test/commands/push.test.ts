import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { hubServer, sha256 } from '../../../data/test/hub/hub-server';
import { goldenConfig, modelFolder, peftAdapter, temporaryFolder } from '../golden';
import { wpo } from '../wpo';

const TOKEN = 'hf_writeToken123';
const folder = temporaryFolder();
const model = join(folder, 'model');

let server: Awaited<ReturnType<typeof hubServer>>;
beforeAll(() => {
  cpSync(modelFolder, model, { recursive: true });
  for (const name of ['policy.safetensors', 'expected.json']) rmSync(join(model, name));
  writeFileSync(join(model, 'README.md'), '---\nlibrary_name: transformers\n---\n# A model\n');
  writeFileSync(join(model, 'notes.key'), 'private');
});
beforeEach(async () => {
  server = await hubServer({}, { [TOKEN]: 'ada' });
  vi.stubEnv('HF_ENDPOINT', server.url);
  vi.stubEnv('HF_HOME', folder);
  vi.stubEnv('HF_TOKEN', TOKEN);
  vi.stubEnv('HF_HUB_OFFLINE', undefined);
  return async () => {
    vi.unstubAllEnvs();
    await server.close();
  };
});
afterAll(() => expect(existsSync(model)).toBe(true));

const sentFiles = (path: string) =>
  Object.fromEntries(
    readdirSync(path)
      .filter((name) => name !== 'notes.key')
      .map((name) => [name, sha256(readFileSync(join(path, name)))]),
  );

/** The hash of each file that the hub received. */
const received = (repo: string) =>
  Object.fromEntries(Object.entries(server.uploaded[repo]!.files).map(([name, bytes]) => [name, sha256(bytes)]));

test('the files of a model arrive as they are, with its card, in a new private repository', async () => {
  const { status, out, err } = await wpo('push', model, '--repo', 'ada/tiny', '--private');
  expect(status, err).toBe(0);
  expect(out).toBe(`Uploaded ${Object.keys(sentFiles(model)).length} files to ${server.url}/ada/tiny\n`);
  expect(received('ada/tiny')).toEqual(sentFiles(model));
  expect(server.uploaded['ada/tiny']).toMatchObject({ isPrivate: true, commits: ['Upload model'] });
  expect(err).not.toContain(TOKEN);
});

test('a name without an owner is in the account of the token; a second push adds a commit and sends no large file again', async () => {
  for (const _ of [1, 2]) expect((await wpo('push', model, '--repo', 'tiny')).status).toBe(0);
  expect(server.uploaded['ada/tiny']).toMatchObject({
    isPrivate: undefined,
    commits: ['Upload model', 'Upload model'],
  });
  expect(server.requests.filter(({ method, host }) => method === 'PUT' && host === 'cdn')).toHaveLength(1);
});

test('failed requests are repeated: a busy hub, and a connection that is cut', async () => {
  const busy = { status: 503, headers: { 'retry-after-ms': '1' } };
  server.faults.push({ on: /preupload/, ...busy }, { on: /lfs\/[0-9a-f]{64}/, cutAfter: 0 }, { on: /commit/, ...busy });
  const { status, err } = await wpo('push', model, '--repo', 'ada/tiny');
  expect(status, err).toBe(0);
  expect(received('ada/tiny')).toEqual(sentFiles(model));
});

test('an upload that failed resumes: files that arrived are not sent again', async () => {
  const fault = {
    on: /commit\/main/,
    status: 400,
    body: '{"error": "no"}',
    headers: { 'content-type': 'application/json' },
  };
  server.faults.push(fault);
  const failed = await wpo('push', model, '--repo', 'ada/tiny');
  expect(failed.status).toBe(1);
  expect(failed.err).toContain(
    'hf://ada/tiny: the upload failed (400): no. Try again: files that have arrived are not sent again.\n',
  );
  expect((await wpo('push', model, '--repo', 'ada/tiny')).status).toBe(0);
  expect(server.requests.filter(({ method, host }) => method === 'PUT' && host === 'cdn')).toHaveLength(1);
});

test.each([
  [
    'no token',
    { HF_TOKEN: '' },
    'ada/tiny',
    'ada/tiny: expected a token in HF_TOKEN, found none. Make one with write access at HUB/settings/tokens.',
  ],
  [
    'another kind of token',
    { HF_TOKEN: 'sk-secret' },
    'ada/tiny',
    'ada/tiny: HF_TOKEN: expected a token that begins with hf_, found another text. Copy it from HUB/settings/tokens.',
  ],
  [
    'a token that is not known',
    { HF_TOKEN: 'hf_other' },
    'ada/tiny',
    'ada/tiny: the hub does not accept HF_TOKEN (401). Make a new one at HUB/settings/tokens.',
  ],
  [
    'no right to write',
    {},
    'bob/tiny',
    'hf://bob/tiny: HF_TOKEN may not write there (403). Use a token with write access, HUB/settings/tokens, or a repository of your own.',
  ],
  [
    'offline',
    { HF_HUB_OFFLINE: '1' },
    'ada/tiny',
    'ada/tiny: nothing is uploaded while HF_HUB_OFFLINE is set. Unset it.',
  ],
  ['no name', {}, 'a/b/c', '"a/b/c": expected the name of a model on the hub, org/name.'],
])('%s is an error that says what to do', async (_, env, repo, expected) => {
  for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
  const { status, err } = await wpo('push', model, '--repo', repo);
  expect(err.replaceAll(server.url, 'HUB')).toBe(`${expected}\n`);
  expect(status).toBe(1);
});

test('folders without a model, and checkpoints are named', async () => {
  const empty = temporaryFolder();
  expect((await wpo('push', empty, '--repo', 'ada/tiny')).err).toBe(
    `${empty}: expected the folder of a model with .safetensors files, found none.\n`,
  );
  cpSync(model, join(empty, 'model'), { recursive: true });
  expect((await wpo('push', empty, '--repo', 'ada/tiny')).err).toContain(
    `The folder of a run has it in ${join(empty, 'model')}.`,
  );
  writeFileSync(join(empty, 'model/optimizer.safetensors'), '');
  expect((await wpo('push', join(empty, 'model'), '--repo', 'ada/tiny')).err).toContain('found a checkpoint.');
});

test('an adapter whose base model is a path is uploaded with a warning', async () => {
  const adapter = join(temporaryFolder(), 'adapter');
  cpSync(peftAdapter('query-value'), adapter, { recursive: true });
  const settings = JSON.parse(readFileSync(join(adapter, 'adapter_config.json'), 'utf8'));
  const named = (base: string) =>
    writeFileSync(join(adapter, 'adapter_config.json'), JSON.stringify({ ...settings, base_model_name_or_path: base }));
  named('org/model');
  expect((await wpo('push', adapter, '--repo', 'ada/lora')).err).not.toContain('base_model_name_or_path');
  named('/models/here');
  const { status, err } = await wpo('push', adapter, '--repo', 'ada/lora');
  expect(status, err).toBe(0);
  expect(err).toContain('base_model_name_or_path is /models/here, a path on this machine, which others do not have.');
  expect(Object.keys(server.uploaded['ada/lora']!.files)).toContain('adapter_model.safetensors');
});

test('push_to_hub uploads the model of a run; a token that is missing stops it before it trains', async () => {
  const run = temporaryFolder();
  const args = ['train', goldenConfig(run), '--set', 'max_steps=1', '--set', `output_dir=${run}/tuned`];
  vi.stubEnv('HF_TOKEN', '');
  const refused = await wpo(...args, '--set', 'push_to_hub=true');
  expect(refused.err).toContain('expected a token in HF_TOKEN, found none.');
  expect(refused.err).toContain('To train without: --set push_to_hub=false; wpo push uploads the model later.');
  expect(existsSync(join(run, 'tuned'))).toBe(false);
  vi.stubEnv('HF_TOKEN', TOKEN);
  const { status, out, err } = await wpo(...args, '--set', 'push_to_hub=true', '--set', 'hub_private_repo=true');
  expect(status, err).toBe(0);
  expect(out).toContain(`to ${server.url}/ada/tuned\n`);
  const { isPrivate, files } = server.uploaded['ada/tuned']!;
  expect(isPrivate).toBe(true);
  expect(received('ada/tuned')).toEqual(sentFiles(join(run, 'tuned/model')));
  expect(String(files['README.md'])).toContain('library_name: transformers');
});

test('a run whose upload fails has its model, says how to upload it, and ends with status 1', async () => {
  const run = temporaryFolder();
  const set = ['max_steps=1', `output_dir=${run}/tuned`, 'push_to_hub=true', 'hub_model_id=bob/tuned'];
  const { status, err } = await wpo('train', goldenConfig(run), ...set.flatMap((one) => ['--set', one]));
  expect(status).toBe(1);
  expect(err).toContain('HF_TOKEN may not write there (403)');
  expect(err).toContain(`To upload it: wpo push ${run}/tuned/model --repo bob/tuned`);
  expect(existsSync(join(run, 'tuned/model/model.safetensors'))).toBe(true);
});

test('a hub that cannot be reached is named after the attempts', async () => {
  const { uploadModel } = await import('@wpo/data/hub');
  vi.stubEnv('HF_ENDPOINT', 'http://127.0.0.1:9');
  await expect(uploadModel(model, 'ada/tiny', { retryDelay: 1 })).rejects.toThrow(
    /^ada\/tiny: http:\/\/127\.0\.0\.1:9 could not be reached \(.+\)\. Check the network, HF_ENDPOINT and proxies, and try again: /,
  );
});

test('an upload that is aborted ends with the signal’s reason, and the next one continues', async () => {
  const { uploadModel } = await import('@wpo/data/hub');
  const stop = new AbortController();
  const options = { signal: stop.signal, onUpload: () => stop.abort(new Error('stopped here')) };
  await expect(uploadModel(model, 'ada/tiny', options)).rejects.toThrow('stopped here');
  expect(server.uploaded['ada/tiny']!.commits).toEqual([]);
  await uploadModel(model, 'ada/tiny');
  expect(received('ada/tiny')).toEqual(sentFiles(model));
  expect(server.requests.filter(({ method, host }) => method === 'PUT' && host === 'cdn')).toHaveLength(1);
});

test('an upload by Xet reports its progress, and is aborted within a request', async () => {
  const { uploadModel } = await import('@wpo/data/hub');
  const xet = await hubServer({}, { [TOKEN]: 'ada' }, 'xet');
  vi.stubEnv('HF_ENDPOINT', xet.url);
  const sent: number[] = [];
  await uploadModel(model, 'ada/tiny', { onUpload: (done) => sent.push(done) });
  expect(xet.uploaded['ada/tiny']!.commits).toEqual(['Upload model']);
  const blocks = () => xet.requests.filter(({ method, url }) => method === 'POST' && url.startsWith('/v1/xorbs/'));
  expect(blocks()).toHaveLength(1);
  expect(sent.at(-1)).toBeGreaterThan(100_000);

  const stop = new AbortController();
  xet.faults.push({ on: /v1.xorbs/, stall: () => stop.abort(new Error('stopped here')) });
  await expect(uploadModel(model, 'ada/other', { signal: stop.signal })).rejects.toThrow('stopped here');
  expect(xet.uploaded['ada/other']!.commits).toEqual([]);
  await xet.close();
});

test.each(['{"type": "user", "auth": {}}', '{"name": "../../other", "auth": {}}', '[]', 'not JSON'])(
  'a hub that names no account is an error: %s',
  async (body) => {
    server.faults.push({ on: /whoami/, status: 200, body, headers: { 'content-type': 'application/json' } });
    const { status, err } = await wpo('push', model, '--repo', 'tiny');
    expect(status).toBe(1);
    expect(err).toMatch(/^tiny: (expected the name of an account from|the upload failed: )/);
    expect(server.requests).toHaveLength(1);
  },
);
