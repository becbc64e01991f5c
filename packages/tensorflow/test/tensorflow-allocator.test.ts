import '@wpo/tensorflow';
import { readFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs-core';
import { seededRandom } from '@wpo/internal/random';
import { expect, test } from 'vitest';
import { TensorFlowAllocator } from '../src/kernels/tensorflow-allocator';

const MB = 2 ** 20;

test('a freed chunk is used for what fits in it best, and joined with its free neighbours', () => {
  const allocator = new TensorFlowAllocator();
  const [a, b, c] = [1, 2, 1].map((size) => allocator.allocate(size * MB)); // regions of 2 MB and 4 MB
  expect(allocator.usedBytes).toBe(4 * MB);
  allocator.free(b!);
  allocator.allocate(2 * MB);
  expect(allocator.usedBytes).toBe(4 * MB); // in the place of b
  allocator.allocate(2 * MB);
  expect(allocator.usedBytes).toBe(6 * MB);
  allocator.free(a!);
  allocator.free(c!);
  allocator.allocate(2 * MB); // in the place of a and c, which are neighbours
  expect(allocator.usedBytes).toBe(6 * MB);
});

test('a chunk less than twice as large as a tensor is not divided', () => {
  const allocator = new TensorFlowAllocator();
  allocator.allocate(2 * MB);
  allocator.free(allocator.allocate(4 * MB)); // the second region
  allocator.allocate(3 * MB); // in its place, all of it
  allocator.allocate(MB); // in a third region
  expect(allocator.usedBytes).toBe((2 + 4 + 1) * MB);
});

test('small tensors are not in regions', () => {
  const allocator = new TensorFlowAllocator();
  const small = allocator.allocate(1000);
  allocator.free(small);
  allocator.allocate(500);
  expect(allocator.usedBytes).toBe(1000);
});

const anonymousBytes = () => 1024 * Number(/RssAnon:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1]);

test.skipIf(process.platform !== 'linux')(
  'takes what TensorFlow takes for tensors of random sizes, within 10 %',
  () => {
    const allocator = new TensorFlowAllocator();
    const random = seededRandom(7);
    const live: { readonly tensor: tf.Tensor; readonly allocation: ReturnType<typeof allocator.allocate> }[] = [];
    tf.ones([MB]).dispose();
    const before = anonymousBytes();
    let [bytes, most] = [0, 0];
    for (let i = 0; i < 400; i++) {
      if (live.length > 30 || (live.length > 0 && random() < 0.45)) {
        const [{ tensor, allocation }] = live.splice(Math.floor(random() * live.length), 1) as [(typeof live)[number]];
        bytes -= 4 * tensor.size;
        tensor.dispose();
        allocator.free(allocation);
      } else {
        const tensor = tf.fill([Math.floor((1 + 60 * random() ** 2) * (MB / 4))], 1);
        bytes += 4 * tensor.size;
        live.push({ tensor, allocation: allocator.allocate(4 * tensor.size) });
        most = Math.max(most, bytes);
      }
    }
    const taken = anonymousBytes() - before;
    tf.dispose(live.map(({ tensor }) => tensor));
    expect(taken).toBeGreaterThan(1.1 * most); // so that the allocator matters
    expect(Math.abs(allocator.usedBytes / taken - 1)).toBeLessThan(0.1);
  },
);
