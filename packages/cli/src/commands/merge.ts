import { dirname, relative, resolve } from 'node:path';
import {
  type AdaptedModule,
  bf16ToF32,
  f16ToF32,
  f32ToBf16,
  f32ToF16,
  WEIGHT_DTYPES,
  type WeightDtypeName,
} from '@wpo/gemma';
import { type MergedRows, mergedTensors, readAdapterFolder, readModelFolder, writeModelFolder } from '@wpo/gemma/node';
import { makeFolder } from '@wpo/internal/node/files';
import { localAdapter, localModel } from '../downloads';
import { fromInput, UserError } from '../errors';
import { lockPath } from '../files';
import { loadBackend } from '../models';
import { checkFlags } from '../schemas/flags';
import { type MergeConfig, mergeSchema } from '../schemas/merge';
import { count } from '../terminal/format';
import { withProgress } from '../terminal/progress';
import { type StopSignal, stopIfAsked, withSignals } from '../terminal/signals';
import { processTerminal, type Terminal } from '../terminal/terminal';
import { mergedCard } from '../training/model-card';

/** `wpo merge`: writes a model with an adapter merged into it. Returns the exit status. */
export async function merge(config: MergeConfig, terminal: Terminal = processTerminal()): Promise<number> {
  checkFlags(mergeSchema, config);
  const folder = await localModel(config.model, terminal);
  const adapter = await localAdapter(config.adapter, terminal);
  for (const input of [folder, adapter]) {
    if (resolve(config.out) !== resolve(input)) continue;
    throw new UserError(`--out: expected another folder than the inputs, found ${config.out}. Write to a new folder.`);
  }
  await loadBackend(); // multiplies the matrices
  return withSignals(terminal, async (stop) => {
    await makeFolder(dirname(config.out));
    const release = await lockPath(dirname(config.out), 'merge');
    try {
      const loss = await fromInput(() => mergeFolders(folder, adapter, config, stop, terminal));
      terminal.stdout.write(`${loss.describe()}\nThe merged model is in ${relative('', config.out) || config.out}\n`);
    } finally {
      release();
    }
    return 0;
  });
}

async function mergeFolders(
  folder: string,
  adapterFolder: string,
  { out, dtype }: MergeConfig,
  stop: StopSignal,
  terminal: Terminal,
): Promise<RoundingLoss> {
  const { config, configJson, checkpoint } = await readModelFolder(folder);
  try {
    const adapter = await readAdapterFolder(adapterFolder, config);
    try {
      const embedding = checkpoint.info('model.embed_tokens.weight').dtype;
      const ofModel = embedding === 'BF16' ? 'bfloat16' : embedding === 'F16' ? 'float16' : 'float32';
      const type = dtype ?? ofModel;
      const loss = new RoundingLoss(type);
      await withProgress(terminal, { label: 'merge', total: adapter.modules.length }, async (shown) => {
        const merged = new Set<AdaptedModule>();
        const tensors = mergedTensors(checkpoint, adapter, async (rows) => {
          await stopIfAsked(stop);
          loss.add(rows);
          if (!merged.has(rows.module)) shown.update(merged.add(rows.module).size);
        });
        const files = await mergedCard(adapterFolder);
        const model = { config, configJson, tensors, files, copyFrom: folder };
        await writeModelFolder(out, { ...model, dtype: WEIGHT_DTYPES[type] });
      });
      return loss;
    } finally {
      await adapter.checkpoint.close();
    }
  } finally {
    await checkpoint.close();
  }
}

/** Values rounded to a type. */
const ROUNDED: Readonly<Record<WeightDtypeName, (values: Float32Array) => Float32Array>> = {
  float32: (values) => values,
  bfloat16: (values) => bf16ToF32(f32ToBf16(values)),
  float16: (values) => f16ToF32(f32ToF16(values)),
};

/** Measures what rounding to the type of the file changes, beside what merging changes. */
class RoundingLoss {
  private update = 0; // sums of squares
  private error = 0;
  private moved = 0; // weights that the update changes
  private kept = 0; // of these, the ones that are as before after rounding

  constructor(private readonly type: WeightDtypeName) {}

  add({ base, merged }: MergedRows): void {
    const [rounded, before] = [ROUNDED[this.type](merged), ROUNDED[this.type](base)];
    let [update, error, moved, kept] = [0, 0, 0, 0];
    for (let i = 0; i < base.length; i++) {
      const exact = merged[i]!;
      const change = exact - base[i]!;
      if (change === 0) continue;
      moved++;
      if (rounded[i] === before[i]) kept++;
      update += change * change;
      // The base is rounded alike without a merge: only the difference of both is the merge's.
      const shift = rounded[i]! - before[i]! - change;
      error += shift * shift;
    }
    this.update += update;
    this.error += error;
    this.moved += moved;
    this.kept += kept;
  }

  describe(): string {
    if (this.update === 0) return 'The adapter changes nothing: its update is 0.';
    if (this.type === 'float32') return `Merged in float32: ${count(this.moved)} weights changed, none was rounded.`;
    const percent = (share: number) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
    const error = Math.sqrt(this.error / this.update);
    const advice =
      error < 0.2 ? '' : ' To keep it whole, write --dtype float32, or use the adapter without merging: --adapter.';
    return (
      `Rounding to ${this.type} changed the update by ${percent(error)} of its norm; ${percent(this.kept / this.moved)} of the weights ` +
      `that it moves are as before.${advice}`
    );
  }
}
