import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { adapted, gemmaPolicy, type LoraConfig, loadWeights } from '@wpo/gemma';
import { readModelFolder, writeAdapterFolder } from '@wpo/gemma/node';
import { precomputeReference } from '@wpo/trainer';
import { afterAll, expect, test } from 'vitest';
import { golden, goldenFolder, goldenPairs } from '../packages/gemma/test/golden';
import { pythonHas, runPython } from '../packages/gemma/test/node/python';
import { backends } from './backends';

const hasPeft = pythonHas('torch, transformers, peft', 'tests that load our adapters with PEFT');
const dir = mkdtempSync(join(tmpdir(), 'wpo-peft-'));
afterAll(() => rmSync(dir, { recursive: true }));

/** Log-probs of pairs with an adapter, and the names that PEFT did not find or did not expect. */
const SCRIPT = `
import json, sys, warnings
import torch
from peft import PeftModel
from transformers import Gemma2ForCausalLM
base, adapter, pairs = sys.argv[1:4]
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model = Gemma2ForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager")
    model = PeftModel.from_pretrained(model, adapter).eval()
def logp(prompt, answer):
    ids = torch.tensor([prompt + answer])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1]
    return torch.log_softmax(logits, -1).gather(1, torch.tensor(answer)[:, None]).sum().item()
def logps():
    return [[logp(p["prompt"], p[side]) for side in ("chosen", "rejected")] for p in json.load(open(pairs))]
model = model.double()
print(json.dumps(dict(float64=logps(), warnings=[str(w.message) for w in caught if "adapter" in str(w.message).lower()])))
`;

const configs: Record<string, Partial<LoraConfig>> = {
  'all linear layers': { r: 4, loraAlpha: 8, targetModules: 'all-linear' },
  rsLoRA: { r: 3, loraAlpha: 2, targetModules: ['q_proj', 'down_proj'], useRslora: true },
  DoRA: { r: 2, loraAlpha: 4, targetModules: ['self_attn.v_proj', 'gate_proj'], useDora: true },
  patterns: {
    targetModules: ['q_proj', 'k_proj', 'up_proj'],
    rankPattern: { 'layers.1.self_attn.q_proj': 2 },
    alphaPattern: { '.*k_proj': 3 },
    layersToTransform: [1, 3],
  },
  'a regular expression': { r: 2, targetModules: String.raw`.*\.[02]\..*(q|o)_proj` },
};

test.skipIf(!hasPeft).each(Object.entries(configs))(
  'PEFT loads our adapter, and our log-probs are those of its float64 within 1e-5: %s',
  async (name, settings) => {
    const { kernels } = backends.native();
    const base = goldenFolder('tiny');
    const { config, checkpoint } = await readModelFolder(base);
    const model = adapted(await loadWeights(config, checkpoint, { trainable: false }), settings, { seed: 7, kernels });
    await checkpoint.close();
    for (const [i, parameter] of model.adapter.parameters.entries()) {
      const noise = tf.randomNormal([...parameter.shape], 0, 0.05, 'float32', i);
      parameter.assign(
        tf.add(tf.tensor((await parameter.value().data()) as Float32Array, [...parameter.shape]), noise),
      );
    }
    const folder = join(dir, name);
    const tensors = model.adapter.parameters.map(({ name, shape, value }) => ({
      name,
      shape,
      data: async () => (await value().data()) as Float32Array,
    }));
    await writeAdapterFolder(folder, { config: model.adapter.config, baseModel: base, tensors, dtype: 'F32' });
    const pairs = golden('tiny').truncation.paper.slice(0, 6);
    writeFileSync(join(dir, 'pairs.json'), JSON.stringify(pairs));
    const found = runPython(SCRIPT, base, folder, join(dir, 'pairs.json')) as {
      float64: [number, number][];
      warnings: string[];
    };
    expect(found.warnings).toEqual([]);
    const rows = await precomputeReference({ policy: gemmaPolicy(model, { kernels }), pairs: goldenPairs(pairs) });
    const ours = rows.flatMap(({ chosen, rejected }) => [chosen, rejected]);
    // float32 logits near the soft cap of 30 are 2e-6 apart, so a log-prob near 0 has fewer digits
    for (const [i, logp] of found.float64.flat().entries()) {
      expect(Math.abs(ours[i]! - logp)).toBeLessThan(1e-5 * Math.max(1, Math.abs(logp)));
    }
    expect(readFileSync(join(folder, 'adapter_config.json'), 'utf8')).toContain('"peft_type": "LORA"');
  },
);
