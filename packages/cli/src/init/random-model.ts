import { readdir } from 'node:fs/promises';
import { dirname, relative } from 'node:path';
import { loadTokenizerFolder } from '@wpo/data/node';
import { type Gemma2Config, type Gemma2Preset, gemma2Presets, tensorShapes, WEIGHT_DTYPES } from '@wpo/gemma';
import { randomWeights, writeModelFolder } from '@wpo/gemma/node';
import { makeFolder } from '@wpo/internal/node/files';
import { formatBytes, requireFreeSpace } from '@wpo/internal/node/write-errors';
import { byteTokenizerFiles } from '../byte-tokenizer';
import { localTokenizer } from '../downloads';
import { fromInput, UserError } from '../errors';
import { lockPath } from '../files';
import type { InitConfig } from '../schemas/init';
import { withProgress } from '../terminal/progress';
import { type StopSignal, withSignals } from '../terminal/signals';
import type { Terminal } from '../terminal/terminal';

/** `<end_of_turn>` of Gemma's tokenizers, and of the tokenizer of bytes: chat models end their answers with it. */
const END_OF_TURN = 107;

const MB = 1e6;

/** The options of `wpo init` with a preset. */
type ModelOptions = InitConfig & { readonly preset: Gemma2Preset };

/** Writes a model with random weights. Returns the exit status. */
export async function initModel(options: ModelOptions, terminal: Terminal): Promise<number> {
  const { preset, out, dtype, seed } = options;
  const config: Gemma2Config = { ...gemma2Presets[preset], eosTokenId: [1, END_OF_TURN] };
  await refuseExisting(out);
  const tokenizer = await tokenizerOf(options, config, terminal); // before signals are handled, so that Ctrl-C stops a download
  const parameters = [...tensorShapes(config).values()].reduce((sum, shape) => sum + sizeOf(shape), 0);
  const valueBytes = dtype === 'float32' ? 4 : 2;
  await requireFreeSpace(
    out,
    parameters * valueBytes,
    'Free some space, set --out to another disk, or choose a smaller --preset.',
  );
  return withSignals(terminal, async (stop) => {
    await makeFolder(dirname(out));
    const release = await lockPath(dirname(out), 'init');
    try {
      const total = parameters * valueBytes;
      await withProgress(terminal, { label: 'write, MB', total: Math.floor(total / MB) }, (shown) => {
        let done = 0;
        const onPart = (values: number) => {
          const before = Math.floor(done / MB);
          done += values * valueBytes;
          if (Math.floor(done / MB) > before) shown.update(Math.floor(done / MB)); // many tensors are smaller than a megabyte
        };
        const tensors = randomWeights(config, { seed }).map(({ data, ...tensor }) => ({
          ...tensor,
          data: () => watched(data(), stop, onPart),
        }));
        return fromInput(() => writeModelFolder(out, { config, tensors, dtype: WEIGHT_DTYPES[dtype], ...tokenizer }));
      });
    } finally {
      release();
    }
    const size = formatBytes(parameters * valueBytes);
    terminal.stdout.write(`A model of ${preset} with random weights, ${size}, is in ${relative('', out) || out}\n`);
    return 0;
  });
}

const sizeOf = (shape: readonly number[]) => shape.reduce((size, length) => size * length, 1);

/** Random weights must not replace a trained model. */
async function refuseExisting(out: string): Promise<void> {
  const found = await readdir(out).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    if (error.code === 'ENOTDIR')
      throw new UserError(`--out: expected a folder that does not exist, found the file ${out}.`);
    throw error;
  });
  if (found.length === 0) return;
  throw new UserError(
    `--out: expected a folder that does not exist or is empty, found ${out}, which has files. Choose another folder, or delete ` +
      'it first.',
  );
}

/** @throws {UserError} if the tokenizer has more tokens than the model */
async function tokenizerOf({ tokenizer, preset }: ModelOptions, config: Gemma2Config, terminal: Terminal) {
  if (tokenizer === undefined) return { files: byteTokenizerFiles() };
  const folder = await localTokenizer(tokenizer, terminal);
  const { vocabSize } = (await fromInput(() => loadTokenizerFolder(folder))).tokenizer;
  if (vocabSize <= config.vocabSize) return { copyFrom: folder };
  throw new UserError(
    `--tokenizer ${tokenizer}: expected at most ${config.vocabSize} tokens, the vocabulary of preset ${preset}, found ${vocabSize}. ` +
      'Choose a larger --preset, or leave out --tokenizer.',
  );
}

/** Counts the parts of a tensor as they are written, and ends after a signal. */
function* watched(parts: Iterable<Float32Array>, { signal }: StopSignal, onPart: (values: number) => void) {
  for (const part of parts) {
    signal.throwIfAborted();
    yield part;
    onPart(part.length);
  }
}
