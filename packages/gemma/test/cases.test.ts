import '@wpo/tensorflow';
import { readFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { parseConfig } from '../src/config';
import { sequenceLogits } from '../src/generate';
import { loadWeights, tensorShapes } from '../src/weights';

/** transformers' logits of a small model, from scripts/make-gemma-cases.py, which defines how the seed gives the weights. */
interface Case {
  readonly name: string;
  readonly seed: number;
  readonly config: unknown;
  readonly ids: number[];
  readonly logits: number[][];
}

const cases: Case[] = JSON.parse(readFileSync(new URL('./fixtures/cases.json', import.meta.url), 'utf8'));

test.each(cases)(
  "the logits of a model with $name equal transformers'",
  async ({ name, seed, config: json, ids, logits }) => {
    const config = parseConfig(json, name);
    const shapes = tensorShapes(config);
    const weights = weightsOf(shapes, seed);
    const model = await loadWeights(config, {
      names: () => [...shapes.keys()],
      info: (tensor) => ({ shape: shapes.get(tensor)! }),
      read: async (tensor) => weights.get(tensor)!,
    });
    const found = await sequenceLogits(model, ids);
    const expected = logits.flat();
    const largest = Math.max(...expected.map(Math.abs));
    expect(found).toHaveLength(expected.length);
    expect(Math.max(...expected.map((value, i) => Math.abs(value - found[i]!))) / largest).toBeLessThan(1e-4);
  },
);

function weightsOf(shapes: ReadonlyMap<string, readonly number[]>, seed: number): Map<string, Float32Array> {
  let x = seed;
  const next = () => {
    x = (Math.imul(1664525, x) + 1013904223) >>> 0;
    return x / 2 ** 32 - 0.5;
  };
  return new Map(
    [...shapes.keys()].sort().map((name) => {
      const shape = shapes.get(name)!;
      const scale = name.includes('norm') ? 0.8 : name.includes('embed') ? 2 : 4 / Math.sqrt(shape.at(-1)!);
      return [name, Float32Array.from({ length: tf.util.sizeFromShape([...shape]) }, () => scale * next())];
    }),
  );
}
