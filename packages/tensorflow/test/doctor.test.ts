import { doctor, formatDoctor } from '@wpo/tensorflow/doctor';
import { expect, it } from 'vitest';

it('checks this machine: TensorFlow works, and every check has a result', async () => {
  const report = await doctor();
  expect(report.checks.map(({ name }) => name).filter((name, i, all) => all.indexOf(name) === i)).toEqual([
    'Node',
    'TensorFlow',
    'Weights',
    'bfloat16',
    'Devices',
    'CPU',
    'Threads',
    'Memory',
    'Disk',
  ]);
  const found = Object.fromEntries(report.checks.map((check) => [check.name, check.found]));
  expect(found.Node).toBe(`${process.versions.node} on ${process.platform}-${process.arch}`);
  expect(found.TensorFlow).toMatch(/^2\.\d+\.\d+.*, matrix products at [1-9]\d* GFLOP\/s, in \//);
  expect(found.Weights).toMatch(/^bfloat16 or float32/);
  expect(found.Memory).toMatch(/^[\d.]+ GB available of [\d.]+ GB$/);
  expect(formatDoctor(report)).toContain('TensorFlow  2.');
});
