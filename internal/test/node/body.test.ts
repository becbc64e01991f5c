import { expect, test } from 'vitest';
import { BodyTooLargeError, readBody } from '../../src/node/body';

test('reads a body of up to the limit', async () => {
  expect((await readBody(new Response('12345').body, 5)).toString()).toBe('12345');
  expect(await readBody(null, 5)).toHaveLength(0);
});

test('an endless body ends with an error once the limit is passed, and its source is cancelled', async () => {
  let sent = 0;
  let cancelled = false;
  const endless = new ReadableStream<Uint8Array>({
    pull(controller) {
      controller.enqueue(new Uint8Array(1000));
      sent += 1000;
    },
    cancel() {
      cancelled = true;
    },
  });
  await expect(readBody(endless, 10_000)).rejects.toThrow(BodyTooLargeError);
  expect(sent).toBeLessThan(20_000);
  expect(cancelled).toBe(true);
});
