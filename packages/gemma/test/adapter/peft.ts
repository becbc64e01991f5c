import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** What PEFT computed with an adapter, by scripts/make-peft-fixtures.py. */
export interface PeftCase {
  /** By the name of the adapted linear layer. */
  readonly modules: Readonly<Record<string, { readonly r: number; readonly scaling: number }>>;
  /** Of the golden pairs, truncated as in the paper: sums over the answers' tokens. */
  readonly logps: readonly { readonly chosen: number; readonly rejected: number }[];
  /** After `merge_and_unload`. */
  readonly mergedLogps: PeftCase['logps'];
  /** Mean WPO loss of the first four pairs. The reference is the model without the adapter. */
  readonly loss: number;
  /** Of that loss, by the tensor's name in the adapter's file. `cosine`: Σᵢ gᵢ cos(i + 1). */
  readonly gradients: Readonly<Record<string, { norm: number; first: number[]; cosine: number }>>;
}

const folder = new URL('../fixtures/peft/', import.meta.url);

export const peft: { readonly beta: number; readonly cases: Readonly<Record<string, PeftCase>> } = JSON.parse(
  readFileSync(new URL('expected.json', folder), 'utf8'),
);

/** The folder of an adapter of the golden model `tiny`. */
export const adapterFolder = (name: string) => fileURLToPath(new URL(name, folder));
