import { spawnSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { beforeAll, expect, test } from 'vitest';
import { built, LONG } from './support';

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const fixtures = at('../packages/gemma/test/fixtures/golden');

beforeAll(built, LONG); // memory.mjs runs the built packages

// docs/parity.md has the command and the results for 1,500 steps of the demo's model.
test('sixty steps, evaluations and checkpoints leave no tensor, handle or open file behind', () => {
  const args = ['--expose-gc', at('memory.mjs'), `${fixtures}/tiny`, `${fixtures}/pairs.jsonl`, '60', '10'];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  expect(status, stderr).toBe(0);
  const lines = stdout
    .trim()
    .split('\n')
    .map(
      (line) =>
        JSON.parse(line) as Record<
          | 'step'
          | 'tensors'
          | 'tensor_bytes'
          | 'trained_bytes'
          | 'allocated_bytes'
          | 'mapped_bytes'
          | 'heap_bytes'
          | 'handles'
          | 'files',
          number
        >,
    );
  expect(lines.map(({ step }) => step)).toEqual([10, 20, 30, 40, 50, 60]);
  expect(lines.map(({ tensors }) => tensors)).toEqual(Array(6).fill(0));
  for (const name of ['tensor_bytes', 'handles', 'files'] as const) {
    expect(new Set(lines.map((line) => line[name])).size, name).toBe(1);
  }
  const { size } = statSync(`${fixtures}/tiny/model.safetensors`); // of the reference model
  const { trained_bytes } = lines[0]!; // of the trained weights, and of each of AdamW's moments
  for (const { allocated_bytes, mapped_bytes } of lines) {
    expect([allocated_bytes, mapped_bytes]).toEqual([3 * trained_bytes, size]);
  }
  // the log of metrics rows grows with each row
  expect(lines.at(-1)!.heap_bytes - lines[1]!.heap_bytes).toBeLessThan(1e6);
});
