import '@wpo/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import { run, withInts } from '../src/kernels/native';
import { faultsAddon, loadAddon } from './gpu/addons';

const FAULTS = [
  'none',
  'invalid argument',
  'bad_alloc',
  'run-time error',
  'unknown',
  'scratch',
  'huge scratch',
] as const;
type Fault = (typeof FAULTS)[number];

const call = (name: string, ...params: number[]) =>
  tf.tidy(() => withInts(params, (ints) => run(name, [ints], 1)[0]!.dataSync()[0]));
const fail = (fault: Fault) => call('WpoTestFault', FAULTS.indexOf(fault));
/** Raises the fault at one index of a parallel loop. */
const failInThread = (fault: Fault, index: number, indices: number) =>
  call('WpoTestFaultInThread', FAULTS.indexOf(fault), index, indices);

beforeAll(async () => {
  process.env.WPO_THREADS = '4';
  process.env.WPO_TEST_ENTRY_FAULT = '1';
  await expect(loadAddon(faultsAddon), 'an entry point that throws').rejects.toThrow('the entry point failed');
  delete process.env.WPO_TEST_ENTRY_FAULT;
  await loadAddon(faultsAddon);
});

test.each([
  ['invalid argument', 'expected a number above 0, found [2, 3]'],
  ['bad_alloc', 'out of memory'],
  ['run-time error', 'a run-time error'],
  ['unknown', 'an unknown C++ exception'],
  ['scratch', 'out of memory: could not allocate 4398046511104 bytes'],
  ['huge scratch', 'out of memory: could not allocate 9223372036854775807 bytes'],
] as const)('%s in an operation is a JavaScript error that names it, also from a worker thread', (fault, message) => {
  expect(() => fail(fault)).toThrow(`WpoTestFault: ${message}`);
  for (const index of [0, 1, 500, 999]) {
    expect(() => failInThread(fault, index, 1000)).toThrow(`WpoTestFaultInThread: ${message}`);
  }
  expect(fail('none')).toBe(0);
  expect(failInThread('none', 0, 1000), 'all threads still work').toBe(1000);
});
