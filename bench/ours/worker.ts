// Our side of the benchmark: `node worker.mjs KIND OPTIONS` does one turn for each line on stdin.
import * as tf from '@tensorflow/tfjs-core';
import type { EncodedPair } from '@wpo/data';
import { loadTokenizerFolder, readPairs } from '@wpo/data/node';
import { textLines } from '@wpo/internal/lines';
import { tensorflowVersion } from '@wpo/tensorflow';
import { nativeOperations } from '@wpo/tensorflow/kernels';
import { ENCODING } from '../inputs';
import { peakBytes, residentBytes } from '../memory';
import { openAttention } from './attention';
import { openGenerate, openLoad } from './inference';
import { openLora } from './lora';
import { openMemory, openReference, openStep } from './training';

const kinds = {
  attention: openAttention,
  data: openData,
  facts: openFacts,
  generate: openGenerate,
  load: openLoad,
  lora: openLora,
  memory: openMemory,
  reference: openReference,
  step: openStep,
};

export interface FactsAnswer {
  readonly tensorflow: string;
  readonly device: 'cpu' | 'gpu';
  /** Whether the native kernels are available. */
  readonly native: boolean;
}

/** Reports TensorFlow's version, the device and the kernels of this process. */
async function openFacts() {
  const { isUsingGpuDevice } = tf.backend() as unknown as { readonly isUsingGpuDevice: boolean };
  return async () => async (): Promise<FactsAnswer> => ({
    tensorflow: tensorflowVersion,
    device: isUsingGpuDevice ? 'gpu' : 'cpu',
    native: nativeOperations(),
  });
}

export interface DataAnswer {
  readonly seconds: number;
  readonly rows: number;
  readonly tokens: number;
  /** CPU time over elapsed time; absent for the peer. */
  readonly cores?: number;
  /** Growth of resident memory from a tenth of the rows to the last; absent for the peer. */
  readonly growthBytes?: number;
}

/** Reads and encodes a file of rows as a stream. */
async function openData(options: { readonly model: string; readonly rows: string; readonly count: number }) {
  const text = await loadTokenizerFolder(options.model);
  return async () => {
    const cpu = process.cpuUsage();
    const start = performance.now();
    let [rows, tokens, early] = [0, 0, 0];
    for await (const pair of readPairs(options.rows, { ...text, ...ENCODING })) {
      rows += 1;
      tokens += size(pair);
      if (rows === Math.ceil(options.count / 10)) early = residentBytes();
    }
    const seconds = (performance.now() - start) / 1000;
    const growthBytes = residentBytes() - early;
    const { user, system } = process.cpuUsage(cpu);
    const cores = (user + system) / 1e6 / seconds;
    return async (): Promise<DataAnswer> => ({ seconds, rows, tokens, cores, growthBytes });
  };
}

const size = ({ prompt, chosen, rejected }: EncodedPair) => prompt.length + chosen.length + rejected.length;

/** Does a kind's turn; the function it resolves to is called after the turn's peak memory was read. */
type Serve = (request: never) => Promise<() => Promise<object>>;

const [kind, options] = process.argv.slice(2) as [keyof typeof kinds, string];
const answer = (value: object) => void process.stdout.write(`@${JSON.stringify(value)}\n`);

const serve: Serve = await kinds[kind](JSON.parse(options));
answer({});
for await (const line of textLines(process.stdin)) {
  const finish = await serve(JSON.parse(line) as never);
  const peak = peakBytes();
  answer({ ...(await finish()), peakBytes: peak });
}
