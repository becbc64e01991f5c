import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseConfig } from '../src/config';
import type { Gemma2 } from '../src/model';
import { openCheckpoint, openSafetensors } from '../src/node/read-checkpoint';
import type { Parameter } from '../src/parameter';
import { loadWeights } from '../src/weights';

/** PyTorch's values for a fixture model, from scripts/make-golden.py. */
export interface Golden {
  formats: Record<'turn' | 'trl' | 'paper', Pair[]>;
  truncation: { limits: { max_length: number; max_prompt_length: number }; paper: Pair[]; keep_start: Pair[] };
  pairs: {
    chosen_tokens: number;
    rejected_tokens: number;
    prompt_tokens: number;
    chosen_logps: number;
    rejected_logps: number;
    ref_chosen_logps: number;
    ref_rejected_logps: number;
    alignment: Record<'chosen' | 'rejected', Record<'sampled' | 'greedy' | 'none', number>>;
    weight: number;
    dpo_loss: number;
    wpo_loss: number;
  }[];
  gradients: Record<string, { norm: number; sum: number; first: number[] }>;
  logits: { ids: number[]; rows: number[]; first8: number[][]; logsumexp: number[]; max_abs: number };
  greedy: { prompt: number[]; completion: number[] }[];
}

export interface Pair {
  prompt: number[];
  chosen: number[];
  rejected: number[];
}

export const goldenFolder = (variant: string) =>
  fileURLToPath(new URL(`./fixtures/golden/${variant}`, import.meta.url));

export const golden = (variant: string): Golden =>
  JSON.parse(readFileSync(`${goldenFolder(variant)}/expected.json`, 'utf8'));

export const goldenPairs = (pairs: readonly Pair[]) => pairs.map((pair, i) => ({ id: `golden-${i}`, ...pair }));

/** A fixture's model: the reference, or the policy, which was trained from it. */
export async function goldenModel(
  variant: string,
  which: 'reference' | 'policy' = 'reference',
): Promise<Gemma2<Parameter>> {
  const folder = goldenFolder(variant);
  const config = parseConfig(JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')), folder);
  const source =
    which === 'policy' ? await openSafetensors(join(folder, 'policy.safetensors')) : await openCheckpoint(folder);
  try {
    return await loadWeights(config, source);
  } finally {
    await source.close();
  }
}

/** The stop ids of generation: current transformers takes them from generation_config.json. */
export const goldenStopIds = (variant: string): number[] =>
  JSON.parse(readFileSync(join(goldenFolder(variant), 'generation_config.json'), 'utf8')).eos_token_id;
