import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { loraDefaults } from '../../src/adapter/lora-config';
import { gemma2_2b, parseConfig } from '../../src/config';
import { checkAdapterFolder, readAdapterFolder, writeAdapterFolder } from '../../src/node/adapter-folder';
import { openSafetensors } from '../../src/node/read-checkpoint';
import { writeSafetensors } from '../../src/node/write-checkpoint';
import { adapterFolder, peft } from '../adapter/peft';
import { goldenFolder } from '../golden';

const tiny = parseConfig(JSON.parse(await readFile(`${goldenFolder('tiny')}/config.json`, 'utf8')), 'config.json');

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'wpo-adapter-'));
});
afterEach(() => rm(dir, { recursive: true }));

test.each(Object.keys(peft.cases))('an adapter of PEFT is read, and written with the same values: %s', async (name) => {
  const adapter = await readAdapterFolder(adapterFolder(name), tiny);
  const { config, modules, checkpoint, baseModel } = adapter;
  expect(baseModel).toBe('golden/tiny');
  expect(modules.map((module) => module.name)).toEqual(Object.keys(peft.cases[name]!.modules));
  const tensors = checkpoint.names().map((tensor) => ({
    name: tensor,
    shape: checkpoint.info(tensor).shape,
    data: () => checkpoint.read(tensor),
  }));
  const out = join(dir, 'new/adapter');
  await writeAdapterFolder(out, {
    config,
    baseModel: 'golden/tiny',
    tensors,
    dtype: 'F32',
    copyFrom: goldenFolder('tiny'),
  });
  const again = await readAdapterFolder(out, tiny);
  expect(again.config).toEqual(config);
  expect(again.modules).toEqual(modules);
  expect(again.checkpoint.names().sort()).toEqual(checkpoint.names().sort());
  for (const tensor of checkpoint.names()) {
    expect(await again.checkpoint.read(tensor)).toEqual(await checkpoint.read(tensor));
  }
  await Promise.all([checkpoint.close(), again.checkpoint.close()]);
  expect(await readdir(out)).toEqual([
    'adapter_config.json',
    'adapter_model.safetensors',
    'chat_template.jinja',
    'tokenizer.json',
    'tokenizer_config.json',
  ]);
});

test('a written adapter replaces an older one, and leaves other files', async () => {
  const out = join(dir, 'adapter');
  const write = (value: number) =>
    writeAdapterFolder(out, {
      config: loraDefaults,
      baseModel: 'org/base',
      tensors: [{ name: 'w', shape: [1], data: () => Float32Array.of(value) }],
      dtype: 'F32',
    });
  await write(1);
  await writeFile(join(out, 'README.md'), 'mine');
  await write(2);
  const file = await openSafetensors(join(out, 'adapter_model.safetensors'));
  expect(await file.read('w')).toEqual(Float32Array.of(2));
  await file.close();
  expect(await readFile(join(out, 'README.md'), 'utf8')).toBe('mine');
  await expect(checkAdapterFolder(out)).resolves.toBeUndefined();
  await expect(checkAdapterFolder(dir)).rejects.toThrow('found no adapter_config.json. Check the path.');
});

test('an adapter of another base model is refused', async () => {
  const read = readAdapterFolder(adapterFolder('query-value'), { ...tiny, hiddenSize: 96 });
  await expect(read).rejects.toThrow(
    /query-value\/adapter_model\.safetensors: expected the 16 tensors.*of another shape.*q_proj\.lora_A\.weight \(expected \[3,96\], found \[3,64\]\).*belongs to another base model/,
  );
  await expect(readAdapterFolder(adapterFolder('query-value'), gemma2_2b)).rejects.toThrow(
    'missing base_model.model.model.layers.4.',
  );
});

test('tensors that the configuration does not ask for, or that are missing, are named', async () => {
  await cp(adapterFolder('query-value'), dir, { recursive: true });
  const path = join(dir, 'adapter_model.safetensors');
  const file = await openSafetensors(path);
  const tensors = file.names().map((name) => ({
    name: name.replace('layers.2.self_attn.v_proj.lora_A.weight', 'layers.2.self_attn.v_proj.lora_C.weight\u001b[2J'),
    shape: file.info(name).shape,
    dtype: 'F32' as const,
    data: () => file.read(name),
  }));
  await writeSafetensors(path, tensors);
  await file.close();
  await expect(readAdapterFolder(dir, tiny)).rejects.toThrow(
    'found: missing base_model.model.model.layers.2.self_attn.v_proj.lora_A.weight; unexpected ' +
      'base_model.model.model.layers.2.self_attn.v_proj.lora_C.weight\\u001b[2J. Check that',
  );
});

test.each([
  ['nothing', async () => {}, 'found no adapter_config.json. Check the path.'],
  ['a model', () => cp(goldenFolder('tiny'), dir, { recursive: true }), 'found a whole model. Give it as the model'],
  [
    'a folder of a run',
    () => cp(adapterFolder('layers'), join(dir, 'model'), { recursive: true }),
    'found a folder that has the adapter in it. Give ',
  ],
  [
    'a broken file',
    async () => {
      await writeFile(join(dir, 'adapter_config.json'), '{');
      await writeFile(join(dir, 'adapter_model.safetensors'), '');
    },
    'expected the settings of an adapter, found JSON that is cut off',
  ],
  [
    'a folder in its place',
    async () => {
      await mkdir(join(dir, 'adapter_config.json'));
      await writeFile(join(dir, 'adapter_model.safetensors'), '');
    },
    'expected the settings of an adapter, found a folder',
  ],
  [
    'no weights',
    () => writeFile(join(dir, 'adapter_config.json'), '{"peft_type":"LORA"}'),
    'expected adapter_model.safetensors beside adapter_config.json, found none',
  ],
  [
    'a pickle file',
    async () => {
      await writeFile(join(dir, 'adapter_config.json'), '{"peft_type":"LORA"}');
      await writeFile(join(dir, 'adapter_model.bin'), '');
    },
    'found only adapter_model.bin, a pickle file',
  ],
])('%s is refused', async (_, make, message) => {
  await make();
  await expect(readAdapterFolder(dir, tiny)).rejects.toThrow(message);
});

test('a path that does not exist, or is a file, is refused', async () => {
  await expect(readAdapterFolder(join(dir, 'none'), tiny)).rejects.toThrow('there is no such folder');
  const file = join(adapterFolder('layers'), 'adapter_model.safetensors');
  await expect(readAdapterFolder(file, tiny)).rejects.toThrow('found a file. Give the folder');
});
