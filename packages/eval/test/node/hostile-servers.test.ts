import { gzipSync } from 'node:zlib';
import { afterEach, expect, test, vi } from 'vitest';
import { createEndpoint, EndpointError, type EndpointOptions } from '../../src/node';
import { rawServer, socketServer } from '../raw-server';

afterEach(() => vi.unstubAllEnvs());

const failureAt = (url: string, options: Partial<EndpointOptions> = {}) =>
  createEndpoint({ url, model: 'm', retries: 0, ...options })
    .chat([{ role: 'user', content: 'hello' }])
    .then(
      () => expect.unreachable(),
      (error: Error) => {
        expect(error).toBeInstanceOf(EndpointError);
        expect(error.message.length).toBeLessThan(1200);
        // biome-ignore lint/suspicious/noControlCharactersInRegex: none may be printed
        expect(error.message).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202e]/);
        return error.message;
      },
    );

/** Writes pieces until the connection is closed. Returns how many bytes were written. */
function writeEndlessly(response: import('node:http').ServerResponse, piece = Buffer.alloc(1 << 20, ' ')) {
  const next = () => {
    if (!response.destroyed) response.write(piece, next);
  };
  next();
}

test('an endless reply is read up to 16 MB and not asked for again', async () => {
  let requests = 0;
  const url = await rawServer((_, response) => {
    requests += 1;
    response.writeHead(200, { 'content-type': 'application/json' });
    writeEndlessly(response);
  });
  expect(await failureAt(url, { retries: 3 })).toContain('found a reply of more than 16 MB, which was not read on.');
  expect(requests).toBe(1);
});

test('of an endless error only the beginning is read', async () => {
  const url = await rawServer((_, response) => {
    response.writeHead(400, { 'content-type': 'text/plain' });
    response.write('No such thing.');
    writeEndlessly(response);
  });
  expect(await failureAt(url)).toContain('found status 400: No such thing.');
});

test.each(['gzip', 'deflate', 'br'])(
  'a reply that is small only while compressed with %s is not unpacked',
  async (encoding) => {
    const { brotliCompressSync, deflateSync } = await import('node:zlib');
    const compress = { gzip: gzipSync, deflate: deflateSync, br: brotliCompressSync }[encoding]!;
    const bomb = compress(Buffer.alloc(200 << 20, ' '));
    expect(bomb.length).toBeLessThan(1 << 20);
    const url = await rawServer((_, response) => response.writeHead(200, { 'content-encoding': encoding }).end(bomb));
    const before = process.memoryUsage().rss;
    expect(await failureAt(url)).toContain('a reply of more than 16 MB');
    expect(process.memoryUsage().rss - before).toBeLessThan(150 << 20);
  },
);

test('a compressed reply is read', async () => {
  const reply = JSON.stringify({ choices: [{ finish_reason: 'stop', message: { content: 'hi' } }] });
  const url = await rawServer((_, response) =>
    response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(reply)),
  );
  const { text } = await createEndpoint({ url, model: 'm' }).chat([{ role: 'user', content: 'hello' }]);
  expect(text).toBe('hi');
});

test('a reply that arrives byte by byte is given up after the timeout', async () => {
  const url = await rawServer((_, response) => {
    response.writeHead(200);
    const drip = setInterval(() => (response.destroyed ? clearInterval(drip) : response.write(' ')), 20);
  });
  expect(await failureAt(url, { timeout: 300 })).toContain('no complete reply within 0.3 s');
});

test.each([
  ['chunks that are none', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\nhello\r\n'],
  ['an endless chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\nhello'],
  ['less than its length', 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"choices": ['],
  ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello'],
  ['no HTTP', '\u001b[2J hello'],
  ['nothing', ''],
  ['a header of a megabyte', `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(1 << 20)}\r\n\r\n{}`],
  ['text that is not compressed', 'HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello'],
  ['an unknown encoding', 'HTTP/1.1 200 OK\r\nContent-Encoding: \u0001\r\nContent-Length: 5\r\n\r\nhello'],
  ['bytes that are no text', Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n\xff\xfe\x9b', 'latin1')],
])('a reply of %s is an error', async (_, reply) => {
  expect(await failureAt(await socketServer(reply))).toContain(': expected a reply, found ');
});

test.each([
  ['[['.repeat(400_000), 'text that is not JSON'],
  [`{"choices": ${'['.repeat(100_000)}${']'.repeat(100_000)}}`, 'incomplete reply'],
  [`{"error": ${'{"message":'.repeat(50_000)}"x"${'}'.repeat(50_000)}}`, 'with an error'],
  ['{"error": {"message": "\\u001b[2J\\u009b31m\\u202eboo", "code": 402}}', 'with an error: \\u001b[2J'],
  ['{"error": "quota exceeded"}', 'with an error: quota exceeded'],
  ['{"choices": []}', 'incomplete reply'],
  ['"choices"', 'incomplete reply'],
  ['', 'text that is not JSON'],
])('status 200 with %.40s is an error', async (body, message) => {
  const url = await rawServer((_, response) => response.writeHead(200).end(body));
  expect(await failureAt(url)).toContain(message);
});

test.each([
  ['choices', '{"choices":[', '{},', '{}]}'],
  [
    'log-probs',
    '{"choices":[{"finish_reason":"stop","message":{"content":"m"},"logprobs":{"content":[',
    '{},',
    '{}]}}]}',
  ],
])('a reply of five million %s without fields takes little memory', async (_, start, piece, end) => {
  const body = start + piece.repeat(5_000_000) + end;
  const url = await rawServer((_, response) => response.writeHead(200).end(body));
  const before = process.memoryUsage().rss;
  await createEndpoint({ url, model: 'm', retries: 0 })
    .chat([{ role: 'user', content: 'hello' }])
    .catch(() => {});
  expect(process.memoryUsage().rss - before).toBeLessThan(900 << 20);
});

test('a timeout beyond the range of timers is not over at once', async () => {
  const reply = JSON.stringify({ choices: [{ finish_reason: 'stop', message: { content: 'hi' } }] });
  const url = await rawServer((_, response) => setTimeout(() => response.end(reply), 50));
  const endpoint = createEndpoint({ url, model: 'm', retries: 0, timeout: 1e12 });
  expect((await endpoint.chat([{ role: 'user', content: 'hello' }])).text).toBe('hi');
});

test('an error in a reply with status 200 is retried like one with a status of its own', async () => {
  let requests = 0;
  let code = 400;
  const url = await rawServer((_, response) => {
    requests += 1;
    response.writeHead(200, { 'retry-after-ms': '1' }).end(JSON.stringify({ error: { message: 'no', code } }));
  });
  await failureAt(url, { retries: 2 });
  expect(requests).toBe(1);
  code = 429;
  await failureAt(url, { retries: 1 });
  expect(requests).toBe(3);
});

test('a redirect is not followed: no other server gets the key or the prompt', async () => {
  vi.stubEnv('WPO_API_KEY', 'sk-planted-0123456789');
  let visits = 0;
  const other = await rawServer((_, response) => {
    visits += 1;
    response.end();
  });
  for (const status of [301, 302, 303, 307, 308]) {
    const url = await rawServer(({ headers }, response) => {
      response.writeHead(status, { location: `${other}/chat?key=${headers.authorization}` }).end();
    });
    const message = await failureAt(url);
    expect(message).toContain(`status ${status}, a redirect to ${other}/chat?key=Bearer ***.`);
    expect(message).toContain('Give the address that the server names.');
  }
  expect(visits).toBe(0);
});

test('a wait of more than five minutes is not sat out', async () => {
  const url = await rawServer((_, response) => response.writeHead(429, { 'retry-after': '86400' }).end('slow down'));
  expect(await failureAt(url, { retries: 3 })).toMatch(
    /found status 429: slow down\. The server asks to wait 24 h\. Run the same command again after that\.$/,
  );
});

test('a stop ends waiting at once, and running requests after the grace period', async () => {
  const stop = new AbortController();
  let requests = 0;
  const url = await rawServer(() => {
    if (++requests === 20) setTimeout(() => stop.abort(), 20);
  });
  const warnings: string[] = [];
  process.on('warning', ({ message }) => warnings.push(message));
  const endpoint = createEndpoint({ url, model: 'm', signal: stop.signal, grace: 50 });
  const chats = Array.from({ length: 20 }, () => endpoint.chat([{ role: 'user', content: 'hello' }]));
  for (const { status } of await Promise.allSettled(chats)) expect(status).toBe('rejected');
  await expect(endpoint.chat([{ role: 'user', content: 'late' }])).rejects.toThrow('the command was stopped');
  expect(requests).toBe(20);
  expect(warnings).toEqual([]); // Node warns of more than ten listeners on a signal
});
