import type { EncodedPair } from '@wpo/data';
import { loadTokenizerFolder, readPairs } from '@wpo/data/node';
import { ENCODING } from '../pairs';
import { residentBytes } from '../process-memory';

export interface DataAnswer {
  readonly seconds: number;
  readonly rows: number;
  readonly tokens: number;
  /** Processor time by time; the peer is not asked. */
  readonly cores?: number;
  /** Growth of resident memory from a tenth of the rows to the last; the peer is not asked. */
  readonly growthBytes?: number;
}

/** Reads a file of rows and encodes them, one by one as a stream. */
export async function openData(options: { readonly model: string; readonly rows: string; readonly count: number }) {
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
