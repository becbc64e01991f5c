import '@wpo/tensorflow';
import { readFileSync } from 'node:fs';
import { seededRandom } from '@wpo/internal/random';
import { expect, test } from 'vitest';
import { nativeStore } from '../src/kernels/native';

// Memory of values that live within a step (native/runtime/step-memory.h).

const store = nativeStore()!;
const MB = 2 ** 20;
const anonymousBytes = () => 1024 * Number(/RssAnon:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1]);

test.skipIf(process.platform !== 'linux')(
  'takes what values of random sizes have at once, and keeps their values',
  () => {
    const random = seededRandom(7);
    const written = new Float32Array(20 * (MB / 4)).fill(0);
    const live: { readonly id: number; readonly count: number; readonly value: number }[] = [];
    const before = anonymousBytes();
    let [bytes, mostBytes, mostTaken] = [0, 0, 0];
    for (let i = 1; i <= 400; i++) {
      if (live.length > 30 || (live.length > 0 && random() < 0.45)) {
        const [{ id, count, value }] = live.splice(Math.floor(random() * live.length), 1) as [(typeof live)[number]];
        for (const at of [0, count - 1]) expect(store.get(id, 4 * at, 1, 'F32')[0]).toBe(value);
        store.free(id);
        bytes -= 4 * count;
        continue;
      }
      const count = Math.floor((1 + 19 * random() ** 2) * (MB / 4));
      const id = store.allocateForStep(4 * count);
      store.set(id, 0, written.fill(i, 0, count).subarray(0, count), 'F32');
      live.push({ id, count, value: i });
      bytes += 4 * count;
      mostBytes = Math.max(mostBytes, bytes);
      mostTaken = Math.max(mostTaken, anonymousBytes() - before);
    }
    for (const { id } of live) store.free(id);
    expect(mostTaken).toBeGreaterThan(0.9 * mostBytes); // so that memory was taken at all
    expect(mostTaken).toBeLessThan(1.05 * mostBytes);
  },
);

test('the memory of a freed value is that of the next one', () => {
  const count = 5 * (MB / 4);
  const first = store.allocateForStep(4 * count);
  store.set(first, 0, new Float32Array(count).fill(3), 'F32');
  store.free(first);
  const next = store.allocateForStep(4 * count);
  expect(store.get(next, 4 * (count - 1), 1, 'F32')[0]).toBe(3); // nothing has written into it
  store.free(next);
});
