import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** PyTorch's values for a fixture model; scripts/make-golden.py made them. */
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
