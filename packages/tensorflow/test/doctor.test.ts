import { doctor, formatDoctor } from '@wpo/tensorflow/doctor';
import { expect, it } from 'vitest';

it('looks at this machine: TensorFlow computes, and every line has a finding', async () => {
  const report = await doctor();
  expect(report.checks.map(({ name }) => name).filter((name, i, all) => all.indexOf(name) === i)).toEqual([
    'Node',
    'TensorFlow',
    'Devices',
    'Processor',
    'Threads',
    'Memory',
    'Disk',
  ]);
  const found = Object.fromEntries(report.checks.map((check) => [check.name, check.found]));
  expect(found.Node).toBe(`${process.versions.node} on ${process.platform}-${process.arch}`);
  expect(found.TensorFlow).toMatch(/^2\.\d+\.\d+.*, matrix products at [1-9]\d* GFLOP\/s, in \//);
  expect(found.Memory).toMatch(/^[\d.]+ GB available of [\d.]+ GB$/);
  expect(formatDoctor(report)).toContain('TensorFlow  2.');
});
