import { copyFileSync, mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Gemma2Config, tensorShapes, writeConfig } from '@wpo/gemma';
import { modelFolder, temporaryFolder } from './golden';

/** A model's folder whose weights are a hole in a file: they have their size and take no disk space. */
export function sparseModel(config: Gemma2Config): string {
  const folder = join(temporaryFolder(), 'model');
  mkdirSync(folder);
  writeFileSync(join(folder, 'config.json'), writeConfig(config, { dtype: 'BF16' }));
  for (const name of ['tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja'])
    copyFileSync(join(modelFolder, name), join(folder, name));
  let end = 0;
  const entries = [...tensorShapes(config)].map(([name, shape]) => {
    const start = end;
    end += 2 * shape.reduce((size, n) => size * n, 1);
    return [name, { dtype: 'BF16', shape, data_offsets: [start, end] }] as const;
  });
  const json = JSON.stringify(Object.fromEntries(entries));
  const header = Buffer.from(json.padEnd(8 * Math.ceil(json.length / 8)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const file = join(folder, 'model.safetensors');
  writeFileSync(file, Buffer.concat([length, header]));
  truncateSync(file, 8 + header.length + end);
  return folder;
}
