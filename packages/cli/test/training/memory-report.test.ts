import '@wpo/tensorflow';
import { gemma2_2b } from '@wpo/gemma';
import { weightStorage } from '@wpo/tensorflow/kernels';
import { preferencePairLoss } from '@wpo/trainer';
import { afterEach, beforeAll, expect, test, vi } from 'vitest';
import { readRunPairs } from '../../src/pairs';
import { lossOptions } from '../../src/schemas/loss';
import { trainSchema } from '../../src/schemas/train';
import { parseConfig } from '../../src/schemas/yaml-config';
import { type MachineMemory, machineMemory } from '../../src/training/machine-memory';
import { checkRunMemory } from '../../src/training/memory-check';
import { leastMemory, planMemory } from '../../src/training/memory-plan';
import { reportMemory } from '../../src/training/memory-report';
import { pairsFile } from '../golden';
import { sparseModel } from '../sparse-model';
import { capture } from '../wpo';

const GB = 1e9;

afterEach(() => {
  vi.unstubAllEnvs();
});

let model: string;
beforeAll(() => {
  model = sparseModel(gemma2_2b);
});

async function runOf(settings: string, processes = 1) {
  const yaml = `model_name_or_path: ${model}\ntrain_file: ${pairsFile}\noutput_dir: run\n${settings}`;
  const config = parseConfig(trainSchema, yaml, { file: 'run.yaml' });
  const pairs = await readRunPairs(config, capture());
  const loss = preferencePairLoss(lossOptions(config));
  return { config, processes, loss, pairs, storage: weightStorage({ dtype: config.dtype }) };
}

const machine = (gigabytes: number, isAddressSpace = false): MachineMemory => ({
  host: { bytes: gigabytes * GB, whose: 'of this machine', isAddressSpace },
});

test('mapped weights are address space, and only there in the sum', async () => {
  const run = await runOf('use_peft: true\n');
  const mapped = 2 * 2_614_341_888;
  const inMemory = await reportMemory(run, machine(20));
  expect(inMemory.plan.mapped).toBe(mapped);
  expect(inMemory.rows.map(({ name }) => name)).not.toContain('mapped');
  const inSpace = await reportMemory(run, machine(20, true));
  expect(inSpace.rows).toContainEqual({ name: 'mapped', where: 'host', bytes: mapped });
});

test('with sharding: zero1 a process has its part of the optimizer’s state', async () => {
  const bytes = async (settings: string) => {
    const { rows } = await reportMemory(await runOf(settings, 4), machine(100));
    return rows.find(({ name }) => name === 'state')!.bytes;
  };
  expect(await bytes('sharding: zero1\n')).toBe((await bytes('')) / 4);
});

test('mapped weights that do not fit beside the run are a warning', async () => {
  const run = await runOf('use_peft: true\nactivation_checkpointing: always\n');
  const warned = async (of: MachineMemory) => {
    const terminal = capture();
    await checkRunMemory(run, of, terminal);
    return terminal.err();
  };
  expect(await warned(machine(5))).toMatch(
    /its weights take 5\.2 GB, and \d\.\d GB of memory are free\. They are read from the disk as they are used, and again/,
  );
  expect(await warned(machine(10))).toBe('');
});

test('a run that does not fit is refused with the table, or continues with WPO_MEMORY_CHECK=0', async () => {
  const run = await runOf('');
  const terminal = capture();
  const check = () => checkRunMemory(run, machine(30), terminal);
  await expect(check()).rejects.toThrow(
    /^This run does not fit in memory: expected 4\d\.\d GB of memory, found 30\.0 GB \(of this machine\)\.\n2\.61 billion parameters/,
  );
  expect(terminal.err()).toBe('');
  vi.stubEnv('WPO_MEMORY_CHECK', '0');
  await check();
  expect(terminal.err()).toMatch(/found 30\.0 GB \(of this machine\)\. Continuing, because WPO_MEMORY_CHECK is 0\.\n$/);
  await checkRunMemory(run, undefined, terminal); // memory that is not known is not checked
});

test('activations use memory that is free, with activation_checkpointing: auto', async () => {
  const run = await runOf('');
  const [tight, roomy] = [await reportMemory(run, machine(42)), await reportMemory(run, machine(60))];
  expect(roomy.plan.activations).toBeGreaterThan(tight.plan.activations);
  const [always, never] = [
    await reportMemory(await runOf('activation_checkpointing: always\n'), machine(60)),
    await reportMemory(await runOf('activation_checkpointing: never\n'), machine(60)),
  ];
  expect(tight.plan.activations).toBe(always.plan.activations);
  expect(roomy.plan.activations).toBe(never.plan.activations);
});

// so the search for settings that fit may leave out a run by it
test.each([
  ['cpu', ''],
  ['cpu', 'use_peft: true\n'],
  ['cpu', 'optimizer_in_bwd: true\nmax_grad_norm: 0\n'],
  ['gpu', 'precompute_ref_log_probs: false\n'],
  ['gpu', 'offload_optimizer: cpu\noffload_gradients: cpu\noffload_activations: cpu\n'],
] as const)('the least memory of a run is in no row more than its plan, on a %s: %j', async (device, settings) => {
  const run = await runOf(settings);
  const [least, plan] = [await leastMemory(run, device), await planMemory(run, { device, available: 1e12 })];
  const { activationBytes, longest, ...planned } = plan;
  expect(Object.keys(least).sort()).toEqual(Object.keys(planned).sort());
  for (const [name, bytes] of Object.entries(least)) {
    expect(bytes, name).toBeLessThanOrEqual(planned[name as keyof typeof planned]);
  }
  expect(least.state).toBe(plan.state);
  expect(least.activations).toBeLessThan(plan.activations);
});

test('sizes that are given replace those of this machine', () => {
  const found = {
    availableMemory: () => ({ bytes: 5 * GB, limit: 'container' }) as const,
    hostMemory: () => ({ bytes: 5 * GB, limit: 'container' }) as const,
  };
  expect(machineMemory(found)!.host.whose).toBe('under the memory limit of this container');
  expect(machineMemory(found)!.host.bytes).toBeGreaterThan(5 * GB); // what this process has already is its own
  expect(machineMemory(found, { deviceMemory: 80 * GB, hostMemory: 64 * GB })).toEqual({
    host: { bytes: 64 * GB, whose: '--host-memory' },
    device: { bytes: 80 * GB, whose: '--device-memory' },
  });
  expect(machineMemory({ ...found, availableMemory: () => undefined })).toBeUndefined();
});
