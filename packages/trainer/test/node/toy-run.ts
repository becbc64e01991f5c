import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {
  adamW,
  precomputeReference,
  type SavedTensor,
  savedTensor,
  type TrainEvent,
  type TrainOptions,
  valuesInParts,
  wpoPairLoss,
} from '../../src';
import { fileCheckpoints, metricsFile, pairLogFile, stopOnSignals } from '../../src/node';
import { readState, spread, toyPairs, toyPolicy } from '../toy-policy';
import { trainWith } from '../train-with';

type Stored = Record<string, { shape: number[]; values: number[] }>;

/** Tensors as JSON, which keeps every float32 exactly. */
export async function writeTensors(path: string, tensors: Iterable<SavedTensor>): Promise<void> {
  const stored: Stored = {};
  for (const tensor of tensors) {
    const values: number[] = [];
    for await (const part of valuesInParts(tensor)) values.push(...part);
    stored[tensor.name] = { shape: [...tensor.shape], values };
  }
  await writeFile(path, JSON.stringify(stored));
}

export async function* readTensors(path: string): AsyncGenerator<SavedTensor> {
  const stored = JSON.parse(await readFile(path, 'utf8')) as Stored;
  for (const [name, { shape, values }] of Object.entries(stored)) yield savedTensor(name, tf.tensor(values, shape));
}

/** Eight steps on ten pairs, with metrics, evaluations and checkpoints at different intervals. */
export async function toyRun(
  folder: string,
  more: Partial<TrainOptions> = {},
  onEvent: (event: TrainEvent) => void | Promise<void> = () => {},
) {
  const policy = toyPolicy(11, spread(121), spread(11, 0.5));
  const optimizer = adamW({ weightDecay: 0.1 });
  const pairs = toyPairs(10, 11);
  const reference = await precomputeReference({ policy, pairs, batchSize: 5 });
  const warnings: string[] = [];
  const options = {
    policy,
    optimizer,
    pairs,
    reference,
    order: (epoch: number) => pairs.map((_, i) => (i * 3 + epoch * 7) % 10),
    loss: wpoPairLoss({ beta: 0.5 }),
    learningRate: 0.05,
    schedule: 'cosine' as const,
    warmupRatio: 0.2,
    maxGradNorm: 0.1,
    batchSize: 2,
    gradientAccumulationSteps: 2,
    maxSteps: 8,
    loggingSteps: 2,
    evaluation: { pairs: pairs.slice(0, 3), reference: reference.slice(0, 3) },
    evalSteps: 3,
    saveSteps: 1,
    metrics: metricsFile(join(folder, 'metrics.jsonl')),
    pairLog: pairLogFile(join(folder, 'pairs.jsonl')),
    checkpoints: fileCheckpoints(folder, { writeTensors, readTensors, saveTotalLimit: 2 }),
    ...more,
  };
  const result = await trainWith(options, (event) => {
    if (event.type === 'warning') warnings.push(event.message);
    return onEvent(event);
  });
  const state = await readState(optimizer);
  const values = policy.values();
  policy.dispose();
  optimizer.dispose();
  const loggedPairs = await readFile(join(folder, 'pairs.jsonl'), 'utf8');
  return { result, values, state, rows: await readRows(folder), loggedPairs, warnings };
}

/** Metrics without times. */
async function readRows(folder: string): Promise<Record<string, number>[]> {
  const text = await readFile(join(folder, 'metrics.jsonl'), 'utf8');
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => {
      const { tokens_per_second, step_seconds, ...row } = JSON.parse(line) as Record<string, number>;
      return row;
    });
}

/**
 * Runs in a separate process and prints its progress. After it has printed `waitFor` it waits: for a signal where `until` is
 * `signal`, otherwise until it is killed.
 */
export async function toyChild(folder: string, waitFor: string, until: string): Promise<void> {
  const stop = stopOnSignals({ onSignal: (name) => void process.stdout.write(`got ${name}\n`) });
  const say = async (line: string) => {
    process.stdout.write(`${line}\n`);
    // a promise alone would not keep the process alive
    while (line === waitFor && !(until === 'signal' && stop.signal.aborted))
      await new Promise((done) => setTimeout(done, 10));
  };
  const sayingWrite: typeof writeTensors = async (path, tensors) => {
    await writeTensors(path, tensors);
    await say(`wrote ${path.split('/').slice(-2).join(' ')}`);
  };
  const checkpoints = fileCheckpoints(folder, { writeTensors: sayingWrite, readTensors, saveTotalLimit: 2 });
  const { result } = await toyRun(folder, { resume: true, signal: stop.signal, checkpoints }, async (event) => {
    if (event.type === 'step') await say(`step ${event.step}`);
  });
  stop.dispose();
  await say(JSON.stringify(result));
}
