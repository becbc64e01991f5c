import { appendFileSync, mkdirSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import type { PageData } from '@wpo/report';
import { afterEach, expect, test } from 'vitest';
import { type WatchServer, watchRun } from '../../src/report/watch';
import { runFolder } from '../../src/training/run-folder';
import { temporaryFolder } from '../golden';
import { wpo } from '../wpo';

const servers: WatchServer[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.dispose();
});

async function watched() {
  const folder = runFolder(join(temporaryFolder(), 'run'));
  mkdirSync(folder.path);
  const server = await watchRun(folder, true);
  servers.push(server);
  return { folder, ...server, port: Number(new URL(server.url).port) };
}

/** A request with any Host header, which fetch does not allow. */
const get = (port: number, host: string, path = '/', method = 'GET') =>
  new Promise<{ status: number; text: string; type: string }>((resolve, reject) => {
    request({ host: '127.0.0.1', port, path, method, headers: { host } }, (response) => {
      let text = '';
      response.on('data', (part) => {
        text += part;
      });
      response.on('end', () =>
        resolve({ status: response.statusCode!, text, type: String(response.headers['content-type']) }),
      );
    })
      .on('error', reject)
      .end();
  });

test('the page and its data follow the run from before its first row', async () => {
  const { folder, url } = await watched();
  const rows = async () => ((await (await fetch(`${url}data`)).json()) as PageData).runs[0]!.training;
  expect(await rows()).toEqual([]);
  const page = await (await fetch(url)).text();
  expect(page).toContain("connect-src 'self'");
  expect(page).toContain('"live":{"data":"/data","every":3}');
  appendFileSync(folder.metrics, '{"step":1,"loss":0.7}\n');
  await expect.poll(rows).toEqual([{ step: 1, loss: 0.7 }]);
});

test.each([
  ['the address', (port: number) => `127.0.0.1:${port}`, 200],
  ['localhost', (port: number) => `localhost:${port}`, 200],
  ['a name that was given this address', (port: number) => `evil.example:${port}`, 403],
  ['another port', () => '127.0.0.1:80', 403],
])('a request for %s is answered with %s', async (_, host, status) => {
  const { port } = await watched();
  const answer = await get(port, host(port), '/data');
  expect(answer.status).toBe(status);
  expect(answer.text.includes('"runs"')).toBe(status === 200);
});

test('nothing but the report can be read, and nothing can be sent', async () => {
  const { port } = await watched();
  const host = `localhost:${port}`;
  expect((await get(port, host, '/../config.yaml')).status).toBe(404);
  expect((await get(port, host, '/', 'POST')).status).toBe(405);
});

test('a damaged file of the run is an error of the answer, and the server continues', async () => {
  const { folder, port } = await watched();
  appendFileSync(folder.metrics, 'no JSON\n');
  const answer = await get(port, `localhost:${port}`);
  expect(answer).toMatchObject({ status: 500, type: 'text/plain; charset=utf-8' });
  expect(answer.text).toContain('metrics.jsonl:1: expected a metrics row, found other text.');
  expect((await get(port, `localhost:${port}`, '/none')).status).toBe(404);
});

test('a port in use is an error', async () => {
  const { folder, port } = await watched();
  await expect(watchRun(folder, port)).rejects.toThrow(
    `--watch: expected a free port, found ${port} in use (EADDRINUSE). Give another port, or --watch alone for a free one.`,
  );
});

test.each(['0', '65536', 'run.yaml', '80.5'])('--watch %s is refused', async (port) => {
  const { status, err } = await wpo('train', 'run.yaml', '--watch', port);
  expect(status).toBe(1);
  expect(err).toContain(`--watch: expected nothing, or a port from 1 to 65535, found "${port}".`);
});
