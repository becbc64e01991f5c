import { cp, mkdir, mkdtemp, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { gemma2_2b } from '../../src/config';
import { type ModelFolder, readModelFolder, writeModelFolder } from '../../src/node/model-folder';
import { openCheckpoint } from '../../src/node/read-checkpoint';
import { pythonHas, runPython } from './python';

const golden = (variant: string) => fileURLToPath(new URL(`../fixtures/golden/${variant}`, import.meta.url));

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'wpo-model-'));
});
afterEach(() => rm(dir, { recursive: true }));

/** All of an open model's tensors, to be written again. */
const tensorsOf = ({ checkpoint }: ModelFolder) =>
  checkpoint.names().map((name) => ({
    name,
    shape: checkpoint.info(name).shape,
    data: () => checkpoint.read(name),
  }));

/** A model of one number, enough to tell folders apart. */
const numbered = (value: number) => ({
  config: gemma2_2b,
  tensors: [{ name: 'w', shape: [1], data: () => Float32Array.of(value) }],
  dtype: 'F32' as const,
});

async function numberIn(folder: string): Promise<number> {
  const checkpoint = await openCheckpoint(folder);
  const [value] = await checkpoint.read('w');
  await checkpoint.close();
  return value!;
}

describe('readModelFolder', () => {
  test('reads config, generation config and weights of a folder that transformers wrote', async () => {
    const model = await readModelFolder(golden('odd'));
    expect(model.config).toMatchObject({ numHiddenLayers: 3, numAttentionHeads: 6, eosTokenId: [1] });
    expect(model.configJson).toMatchObject({ torch_dtype: 'bfloat16' });
    expect(model.generationConfig).toMatchObject({ eos_token_id: [1, 107] });
    expect(model.checkpoint.info('model.norm.weight')).toEqual({ dtype: 'BF16', shape: [96] });
    await model.checkpoint.close();
  });

  test('needs no generation_config.json', async () => {
    await cp(golden('tiny'), dir, { recursive: true });
    await rm(join(dir, 'generation_config.json'));
    const model = await readModelFolder(dir);
    expect(model.generationConfig).toBeUndefined();
    await model.checkpoint.close();
  });

  test('stop ids are those of generation_config.json, else of config.json', async () => {
    const idsWith = async (generation: unknown) => {
      await writeFile(join(dir, 'generation_config.json'), JSON.stringify(generation));
      const model = await readModelFolder(dir);
      await model.checkpoint.close();
      return model.stopIds;
    };
    await cp(golden('odd'), dir, { recursive: true });
    expect(await idsWith({ eos_token_id: [1, 107] })).toEqual([1, 107]);
    expect(await idsWith({ eos_token_id: 7 })).toEqual([7]);
    expect(await idsWith({})).toEqual([1]);
    expect(await idsWith({ eos_token_id: null })).toEqual([1]);
    for (const ids of ['7', [1, '107'], 2 ** 32 + 1, -1, 1.5, { a: 1 }, 1e6]) {
      await expect(idsWith({ eos_token_id: ids })).rejects.toThrow(
        `${join(dir, 'generation_config.json')}: eos_token_id: expected a token id from 0 to`,
      );
    }
  });

  test('untied embeddings need an output projection in the weights', async () => {
    await cp(golden('tiny'), dir, { recursive: true });
    const json = JSON.parse(await readFile(join(dir, 'config.json'), 'utf8'));
    await writeFile(join(dir, 'config.json'), JSON.stringify({ ...json, tie_word_embeddings: false }));
    await expect(readModelFolder(dir)).rejects.toThrow(
      'tie_word_embeddings: expected true, found false without an lm_head.weight in the weights',
    );
  });

  test('names a missing or invalid file', async () => {
    await expect(readModelFolder(join(dir, 'none'))).rejects.toThrow(
      `${join(dir, 'none')}: expected a model's folder in Hugging Face's layout, found nothing: there is no such folder`,
    );
    await writeFile(join(dir, 'config.json'), '{"model_type": ');
    await expect(readModelFolder(dir)).rejects.toThrow(
      `${join(dir, 'config.json')}: expected a JSON object, found JSON that is cut off. Download the file again`,
    );
    await writeFile(join(dir, 'config.json'), '"gemma2"');
    await expect(readModelFolder(dir)).rejects.toThrow('config.json: expected a JSON object, found "gemma2"');
    await writeFile(join(dir, 'config.json'), '{"model_type": "llama"}');
    await expect(readModelFolder(dir)).rejects.toThrow(
      'config.json: model_type: expected "gemma2" (only Gemma-2 models are supported), found "llama"',
    );
  });
});

describe('writeModelFolder', () => {
  test.each(['F32', 'BF16'] as const)(
    'writes a model in %s that is read back, with the tokenizer of its source',
    async (dtype) => {
      const source = await readModelFolder(golden('odd'));
      const to = join(dir, 'deep', 'model');
      await writeModelFolder(to, { ...source, tensors: tensorsOf(source), dtype, copyFrom: golden('odd') });
      expect((await readdir(to)).sort()).toEqual([
        'config.json',
        'generation_config.json',
        'model.safetensors',
        'tokenizer.json',
        'tokenizer_config.json',
      ]);
      for (const name of ['generation_config.json', 'tokenizer.json', 'tokenizer_config.json']) {
        expect((await readFile(join(to, name))).equals(await readFile(join(golden('odd'), name)))).toBe(true);
      }
      const again = await readModelFolder(to);
      expect(again.config).toEqual(source.config);
      expect(again.configJson).toMatchObject({ dtype: dtype === 'F32' ? 'float32' : 'bfloat16', use_cache: true });
      expect(again.checkpoint.names()).toEqual(source.checkpoint.names());
      for (const name of source.checkpoint.names()) {
        expect(again.checkpoint.info(name)).toEqual({ ...source.checkpoint.info(name), dtype });
        expect(await again.checkpoint.read(name)).toEqual(await source.checkpoint.read(name));
      }
      await source.checkpoint.close();
      await again.checkpoint.close();
      expect(await readdir(join(dir, 'deep'))).toEqual(['model']);
    },
  );

  test('writes shards of at most maxShardBytes, and generation_config.json from the config without copyFrom', async () => {
    const source = await readModelFolder(golden('tiny'));
    await writeModelFolder(dir, {
      config: source.config,
      tensors: tensorsOf(source),
      dtype: 'BF16',
      maxShardBytes: 3e5,
    });
    expect(await readdir(dir)).toContain('model-00001-of-00003.safetensors');
    expect(JSON.parse(await readFile(join(dir, 'generation_config.json'), 'utf8'))).toEqual({
      ...{ _from_model_config: true, bos_token_id: 2, eos_token_id: [1, 107], pad_token_id: 0 },
    });
    await source.checkpoint.close();
  });

  test('replaces the model in a folder, also its own source, and keeps other files', async () => {
    const to = join(dir, 'model');
    await cp(golden('odd'), to, { recursive: true });
    await mkdir(join(to, 'runs'));
    await writeFile(join(to, 'runs', 'notes.txt'), 'kept');
    await writeFile(join(to, 'README.md'), 'kept too');
    await writeModelFolder(to, { ...numbered(7), copyFrom: to });
    expect(await numberIn(to)).toBe(7);
    expect((await readdir(to)).sort()).toEqual([
      ...['README.md', 'config.json', 'expected.json', 'generation_config.json', 'model.safetensors'],
      ...['policy.safetensors', 'runs', 'tokenizer.json', 'tokenizer_config.json'],
    ]);
    expect(await readFile(join(to, 'runs', 'notes.txt'), 'utf8')).toBe('kept');
    expect(await readdir(dir)).toEqual(['model']);
  });

  test('leaves the old model unchanged, and no partial folder, if writing fails', async () => {
    const to = join(dir, 'model');
    await writeModelFolder(to, numbered(1));
    const failing = [...numbered(2).tensors, { name: 'x', shape: [1], data: () => Promise.reject(new Error('lost')) }];
    await expect(writeModelFolder(to, { ...numbered(2), tensors: failing })).rejects.toThrow('lost');
    await expect(writeModelFolder(to, { ...numbered(2), copyFrom: join(dir, 'none') })).rejects.toThrow('ENOENT');
    expect(await numberIn(to)).toBe(1);
    expect(await readdir(dir)).toEqual(['model']);
  });

  test('recovers from a crash between the two renames', async () => {
    const to = join(dir, 'model');
    await writeModelFolder(to, numbered(1));
    await writeFile(join(to, 'notes.txt'), 'kept');
    await rename(to, join(dir, '.model.replaced'));
    await writeModelFolder(to, numbered(2));
    expect(await numberIn(to)).toBe(2);
    expect(await readFile(join(to, 'notes.txt'), 'utf8')).toBe('kept');
    expect(await readdir(dir)).toEqual(['model']);
  });

  test('recovers from a crash after the renames, and removes a partial folder', async () => {
    const to = join(dir, 'model');
    await writeModelFolder(to, numbered(2));
    await writeModelFolder(join(dir, '.model.replaced'), numbered(1));
    await writeFile(join(dir, '.model.replaced', 'notes.txt'), 'kept');
    await mkdir(join(dir, '.model.partial'));
    await writeFile(join(dir, '.model.partial', 'model.safetensors'), 'half');
    await writeModelFolder(to, numbered(3));
    expect(await numberIn(to)).toBe(3);
    expect(await readFile(join(to, 'notes.txt'), 'utf8')).toBe('kept');
    expect(await readdir(dir)).toEqual(['model']);
  });

  test('replaces the folder behind a symbolic link, not the link', async () => {
    await writeModelFolder(join(dir, 'real'), numbered(1));
    await symlink(join(dir, 'real'), join(dir, 'link'));
    await writeModelFolder(join(dir, 'link'), numbered(2));
    expect(await numberIn(join(dir, 'real'))).toBe(2);
    expect((await readdir(dir)).sort()).toEqual(['link', 'real']);
  });

  test('refuses a target that is a file', async () => {
    await writeFile(join(dir, 'model'), 'a file');
    await expect(writeModelFolder(join(dir, 'model'), numbered(1))).rejects.toThrow(
      'model: expected a folder or nothing, found a file',
    );
    expect(await readFile(join(dir, 'model'), 'utf8')).toBe('a file');
  });
});

describe.skipIf(!pythonHas('torch, transformers', 'tests that load our model folders with transformers'))(
  'transformers',
  () => {
    test.each([
      ['odd', 'F32', undefined],
      ['odd', 'BF16', 300_000],
      ['tiny', 'BF16', undefined],
    ] as const)(
      'loads %s written in %s with every weight, and the same logits as its source',
      async (variant, dtype, maxShardBytes) => {
        const source = await readModelFolder(golden(variant));
        await writeModelFolder(dir, {
          ...source,
          tensors: tensorsOf(source),
          dtype,
          copyFrom: golden(variant),
          maxShardBytes,
        });
        await source.checkpoint.close();
        const script = `
import sys, json, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
def load(path, dtype):
    model, info = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, attn_implementation='eager', output_loading_info=True)
    return model.eval(), {k: sorted(map(str, v)) for k, v in info.items() if v}
ours, problems = load(sys.argv[2], 'auto')
theirs, _ = load(sys.argv[1], ours.dtype)
ids = torch.arange(108, 208)[None]
with torch.no_grad():
    same = torch.equal(theirs(ids).logits, ours(ids).logits)
text = AutoTokenizer.from_pretrained(sys.argv[2]).apply_chat_template([{'role': 'user', 'content': 'hi'}], tokenize=False)
print(json.dumps([problems, str(ours.dtype), same, ours.generation_config.eos_token_id, text]))`;
        expect(runPython(script, golden(variant), dir)).toEqual([
          {},
          dtype === 'F32' ? 'torch.float32' : 'torch.bfloat16',
          true,
          [1, 107],
          '<bos><start_of_turn>user\nhi<end_of_turn>\n',
        ]);
      },
    );
  },
);
