import { describe, expect, test } from 'vitest';
import { createCache } from '../src/cache';
import { answerLogps, forward, type Gemma2, type Gemma2Config, logits } from '../src/model';
import type { Kernels, OpResult, Value, Weight } from '../src/ops/contract';
import { packPairs, singleSequence } from '../src/pack';
import { Tape } from '../src/tape';
import { tensorShapes } from '../src/weights';

// All sizes differ, also the products N · D = 24 and K · D = 12, so that a wrong dimension fails a test.
const [H, F, N, K, D, V] = [10, 14, 4, 2, 6, 30];
const config: Gemma2Config = {
  vocabSize: V,
  hiddenSize: H,
  intermediateSize: F,
  numHiddenLayers: 2,
  numAttentionHeads: N,
  numKeyValueHeads: K,
  headDim: D,
  queryPreAttnScalar: 16,
  slidingWindow: 3,
  attnLogitSoftcapping: 50,
  finalLogitSoftcapping: 30,
  rmsNormEps: 1e-6,
  ropeTheta: 10_000,
  maxPositionEmbeddings: 64,
  layerTypes: ['sliding_attention', 'full_attention'],
  bosTokenId: 2,
  eosTokenId: [1],
  padTokenId: 0,
};

const shaped = (...shape: number[]): Value => ({ shape, clone: () => shaped(...shape), dispose() {} });

/** Kernels that compute nothing: they check the shapes of inputs and list each operation with its output's shape. */
function shapeKernels() {
  const steps: string[] = [];
  const output = (name: string, shape: readonly number[], inputs: readonly Value[] = []): OpResult => {
    steps.push(`${name} [${shape.join(', ')}]`);
    return {
      output: shaped(...shape),
      inputsForBackward: inputs,
      saved: [],
      backward: () => inputs.map((input) => shaped(...input.shape)),
    };
  };
  const named = (w: Weight) => w.name.replace('model.', '').replace('.weight', '');
  const expectShape = (value: { readonly shape: readonly number[] }, ...shape: number[]) =>
    expect(value.shape).toEqual(shape);
  const kernels: Kernels = {
    embedding(ids, w, scale) {
      expectShape(w, V, H);
      expect(scale).toBe(Math.sqrt(H));
      return output(named(w), [ids.length, H]);
    },
    linear(x, w) {
      expectShape(x, x.shape[0]!, w.shape[1]!);
      return output(named(w), [x.shape[0]!, w.shape[0]!], [x]);
    },
    linearToHeads(x, w, heads) {
      expectShape(x, x.shape[0]!, w.shape[1]!);
      return output(named(w), [heads, w.shape[0]! / heads, x.shape[0]!], [x]);
    },
    linearFromHeads(x, w) {
      expectShape(w, w.shape[0]!, x.shape[0]! * x.shape[1]!);
      return output(named(w), [x.shape[2]!, w.shape[0]!], [x]);
    },
    gegluLinear(gate, up, w) {
      expectShape(gate, up.shape[0]!, w.shape[1]!);
      expectShape(up, up.shape[0]!, w.shape[1]!);
      return output(named(w), [gate.shape[0]!, w.shape[0]!], [gate, up]);
    },
    rmsNorm(x, w, _, residual) {
      expectShape(w, x.shape[1]!);
      if (residual) expect(residual.shape).toEqual(x.shape);
      return output(`${named(w)}${residual ? ' + residual' : ''}`, x.shape, residual ? [x, residual] : [x]);
    },
    rotaryTables: (positions, headDim) => ({
      cos: shaped(headDim, positions.length),
      sin: shaped(headDim, positions.length),
    }),
    rope(x, { cos, sin }) {
      expectShape(cos, x.shape[1]!, x.shape[2]!);
      expectShape(sin, x.shape[1]!, x.shape[2]!);
      return output('rope', x.shape, [x]);
    },
    attention(q, k, v, blocks, { scale, softcap }) {
      expectShape(k, K, D, k.shape[2]!);
      expect(v.shape).toEqual(k.shape);
      expect([scale, softcap]).toEqual([1 / 4, 50]);
      expect(blocks.reduce((sum, { count }) => sum + count, 0)).toBe(q.shape[2]);
      for (const { keyRanges } of blocks) {
        for (const { start, count } of keyRanges) expect(start + count).toBeLessThanOrEqual(k.shape[2]!);
      }
      return output(`attention over ${k.shape[2]} keys, window ${blocks[0]!.window},`, q.shape, [q, k, v]);
    },
    selectRows: (x, indices) => output('selectRows', [indices.length, x.shape[1]!], [x]),
    logits(hidden, w, softcap) {
      expect(softcap).toBe(30);
      return output('logits', [hidden.shape[0]!, w.shape[0]!]).output as ReturnType<Kernels['logits']>;
    },
    async answerLogps(hidden, w, targets, softcap) {
      expectShape(w, V, H);
      expectShape(hidden, targets.length, H);
      expect(softcap).toBe(30);
      const term = output('answerLogps', [targets.length]).output as Awaited<
        ReturnType<Kernels['answerLogps']>
      >['logps'];
      const backward = async () => shaped(...hidden.shape);
      return { logps: term, logSumSquares: term, logMax: term, backward, dispose() {} };
    },
    scale: (x) => x,
    geglu: (gate, up) => output('geglu', gate.shape, [gate, up]),
    product: (_, __, { shape }) => shaped(...shape),
    dropout: (x) => shaped(...x.shape),
    add(a, b) {
      expect(a.shape).toEqual(b.shape);
      return a;
    },
    addRows: (_, __, rows, count) => shaped(count, rows.shape[1]!),
    setColumns(_, columns, values, count) {
      expectShape(values, K, D, columns.length);
      return shaped(K, D, count);
    },
  };
  return { kernels, steps };
}

const model = (() => {
  const weights = new Map(
    [...tensorShapes(config)].map(([name, shape]): [string, Weight] => [
      name,
      { name, shape, value: () => ({ ...shaped(...shape), data: async () => [] }), trainable: true, accumulate() {} },
    ]),
  );
  const at = (name: string) => weights.get(`model.${name}.weight`)!;
  const layer = (i: number) => ({
    inputLayernorm: at(`layers.${i}.input_layernorm`),
    selfAttn: {
      qProj: at(`layers.${i}.self_attn.q_proj`),
      kProj: at(`layers.${i}.self_attn.k_proj`),
      vProj: at(`layers.${i}.self_attn.v_proj`),
      oProj: at(`layers.${i}.self_attn.o_proj`),
    },
    postAttentionLayernorm: at(`layers.${i}.post_attention_layernorm`),
    preFeedforwardLayernorm: at(`layers.${i}.pre_feedforward_layernorm`),
    mlp: {
      gateProj: at(`layers.${i}.mlp.gate_proj`),
      upProj: at(`layers.${i}.mlp.up_proj`),
      downProj: at(`layers.${i}.mlp.down_proj`),
    },
    postFeedforwardLayernorm: at(`layers.${i}.post_feedforward_layernorm`),
  });
  const built: Gemma2 = { config, embedTokens: at('embed_tokens'), layers: [layer(0), layer(1)], norm: at('norm') };
  return built;
})();

/** A layer's steps for T tokens, A rows from the queries on and S keys. */
const layerSteps = (layer: number, T: number, A: number, S: number, window: number) => {
  const select = A === T ? [] : [`selectRows [${A}, ${H}]`];
  return [
    `layers.${layer}.input_layernorm [${T}, ${H}]`,
    ...select,
    `layers.${layer}.self_attn.q_proj [${N}, ${D}, ${A}]`,
    `rope [${N}, ${D}, ${A}]`,
    `layers.${layer}.self_attn.k_proj [${K}, ${D}, ${T}]`,
    `rope [${K}, ${D}, ${T}]`,
    `layers.${layer}.self_attn.v_proj [${K}, ${D}, ${T}]`,
    `attention over ${S} keys, window ${window}, [${N}, ${D}, ${A}]`,
    `layers.${layer}.self_attn.o_proj [${A}, ${H}]`,
    ...select,
    `layers.${layer}.post_attention_layernorm + residual [${A}, ${H}]`,
    `layers.${layer}.pre_feedforward_layernorm [${A}, ${H}]`,
    `layers.${layer}.mlp.gate_proj [${A}, ${F}]`,
    `layers.${layer}.mlp.up_proj [${A}, ${F}]`,
    `layers.${layer}.mlp.down_proj [${A}, ${H}]`,
    `layers.${layer}.post_feedforward_layernorm + residual [${A}, ${H}]`,
  ];
};

describe('the shape at every step of the model', () => {
  test('of a packed pair in training: the last layer computes queries and MLP at output rows only', async () => {
    const { kernels, steps } = shapeKernels();
    const tape = new Tape(kernels, { record: true });
    const packed = packPairs([{ id: 'a', prompt: [2, 3, 4, 5], chosen: [6, 7], rejected: [8] }], V);
    const [hidden] = await forward(tape, model, [packed]);
    await answerLogps(tape, model, hidden!, packed.targets);
    const [T, A] = [7, 3];
    const forwardSteps = [
      `embed_tokens [${T}, ${H}]`,
      ...layerSteps(0, T, T, T, 3),
      ...layerSteps(1, T, A, T, Number.POSITIVE_INFINITY),
    ];
    expect(steps).toEqual([...forwardSteps, `norm [${A}, ${H}]`, `answerLogps [${A}]`]);

    // Activation checkpointing: the backward pass recomputes the layers, the last one first.
    steps.length = 0;
    await tape.backward(new Map([[hidden!, shaped(A, H)]]));
    expect(steps).toEqual([...layerSteps(1, T, A, T, Number.POSITIVE_INFINITY), ...layerSteps(0, T, T, T, 3)]);
  });

  test('of a generated token: attention over all cached keys', async () => {
    const { kernels, steps } = shapeKernels();
    const cache = createCache([9]);
    for (const ids of [[2, 3, 4, 5, 6], [7]]) {
      steps.length = 0;
      const tape = new Tape(kernels, { record: false });
      const [hidden] = await forward(tape, model, [cache.next([{ sequence: 0, ids }])], cache);
      logits(tape, model, hidden!);
    }
    expect(steps).toEqual([
      `embed_tokens [1, ${H}]`,
      ...layerSteps(0, 1, 1, 9, 3),
      // the last layer selects its output rows, here the only row
      ...layerSteps(1, 1, 1, 9, Number.POSITIVE_INFINITY).flatMap((step) =>
        step.includes('input_layernorm') || step.includes('o_proj') ? [step, `selectRows [1, ${H}]`] : [step],
      ),
      `norm [1, ${H}]`,
      `logits [1, ${V}]`,
    ]);
  });

  test('of a whole sequence: logits at every position', async () => {
    const { kernels, steps } = shapeKernels();
    const tape = new Tape(kernels, { record: false });
    const [hidden] = await forward(tape, model, [singleSequence(Int32Array.of(2, 3, 4, 5, 6))]);
    logits(tape, model, hidden!);
    expect(steps.at(-1)).toBe(`logits [5, ${V}]`);
  });
});

test('a tape refuses the gradient of a value that the output does not depend on', async () => {
  const tape = new Tape(shapeKernels().kernels, { record: true });
  const norm = tape.rmsNorm(shaped(2, H), model.norm, 1e-6);
  await expect(tape.backward(new Map([[norm, shaped(2, H)]]), shaped(2, H))).rejects.toThrow(
    'expected an output that depends on the input',
  );
});
