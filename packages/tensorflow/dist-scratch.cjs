const __importmetaurl = require('url').pathToFileURL(__filename).href;
('use strict');
var __create = Object.create;
var __defProp = Object.defineProperty;
var __getOwnPropDesc = Object.getOwnPropertyDescriptor;
var __getOwnPropNames = Object.getOwnPropertyNames;
var __getProtoOf = Object.getPrototypeOf;
var __hasOwnProp = Object.prototype.hasOwnProperty;
var __copyProps = (to, from, except, desc) => {
  if ((from && typeof from === 'object') || typeof from === 'function') {
    for (const key of __getOwnPropNames(from))
      if (!__hasOwnProp.call(to, key) && key !== except)
        __defProp(to, key, {
          get: () => from[key],
          enumerable: !(desc = __getOwnPropDesc(from, key)) || desc.enumerable,
        });
  }
  return to;
};
var __toESM = (mod, isNodeMode, target) => (
  (target = mod != null ? __create(__getProtoOf(mod)) : {}),
  __copyProps(
    // If the importer is in node compatibility mode or this is not an ESM
    // file that has been converted to a CommonJS file using a Babel-
    // compatible transform (i.e. "__esModule" has not been set), then set
    // "default" to the CommonJS "module.exports" for node compatibility.
    isNodeMode || !mod || !mod.__esModule ? __defProp(target, 'default', { value: mod, enumerable: true }) : target,
    mod,
  )
);

// packages/tensorflow/src/load.ts
var import_node_fs = require('node:fs');
var import_node_module = require('node:module');
var import_node_path = require('node:path');

// packages/tensorflow/src/repair-node.ts
var import_node_util = __toESM(require('node:util'), 1);
function repairNode() {
  Object.assign(import_node_util.default, {
    isNullOrUndefined: (value) => value === null || value === void 0,
    isArray: Array.isArray,
  });
}

// packages/tensorflow/src/load.ts
function loadTensorflow() {
  const require2 = (0, import_node_module.createRequire)(__importmetaurl);
  repairNode();
  try {
    quietTensorflow(require2);
    return require2('@tensorflow/tfjs-node-gpu');
  } catch (error) {
    throw new Error(
      `${explain(error)} Run \`npx wpo-tensorflow install\`; \`npx wpo-tensorflow doctor\` says what is wrong.`,
      { cause: error },
    );
  }
}
function quietTensorflow(require2) {
  process.env.TF_CPP_MIN_LOG_LEVEL ??= '2';
  const folder = (0, import_node_path.dirname)(require2.resolve('@tensorflow/tfjs-node-gpu/package.json'));
  const quiet = (0, import_node_path.join)(folder, 'lib', 'napi-v8', 'quiet.node');
  if ((0, import_node_fs.existsSync)(quiet)) require2(quiet);
}
function explain(error) {
  const message = error instanceof Error ? error.message : String(error);
  if (/Cannot find module '@tensorflow\/tfjs-node-gpu/.test(message))
    return '@tensorflow/tfjs-node-gpu is not installed.';
  if (/native addon module/.test(message)) return 'TensorFlow is not installed under @tensorflow/tfjs-node-gpu.';
  return `TensorFlow could not be loaded: ${message.split('\n')[0].trim()}.`;
}

// packages/tensorflow/src/index.ts
var tfjs = loadTensorflow();
var tensorflowVersion = tfjs.backend().binding.TF_Version;

// ../../tmp/bx/step.ts
var tf12 = __toESM(require('@tensorflow/tfjs-core'));

// packages/gemma/src/config.ts
var alternating = (layers) =>
  Array.from({ length: layers }, (_, i) => (i % 2 === 0 ? 'sliding_attention' : 'full_attention'));
var published = (sizes) => ({
  ...sizes,
  vocabSize: 256e3,
  slidingWindow: 4096,
  attnLogitSoftcapping: 50,
  finalLogitSoftcapping: 30,
  rmsNormEps: 1e-6,
  ropeTheta: 1e4,
  maxPositionEmbeddings: 8192,
  layerTypes: alternating(sizes.layers),
  bosTokenId: 2,
  eosTokenIds: [1],
  padTokenId: 0,
});
var gemma2_2b = published({
  hiddenSize: 2304,
  intermediateSize: 9216,
  layers: 26,
  heads: 8,
  kvHeads: 4,
  headDim: 256,
  queryPreAttnScalar: 256,
});
var gemma2_9b = published({
  hiddenSize: 3584,
  intermediateSize: 14336,
  layers: 42,
  heads: 16,
  kvHeads: 8,
  headDim: 256,
  queryPreAttnScalar: 256,
});
var gemma2_27b = published({
  hiddenSize: 4608,
  intermediateSize: 36864,
  layers: 46,
  heads: 32,
  kvHeads: 16,
  headDim: 128,
  queryPreAttnScalar: 144,
});
function parseConfig(json, where) {
  if (!isObject(json)) throw new Error(`${where}: holds ${show(json)}; wanted an object, a model's config.json.`);
  const refuse = (key, found, wanted) => new Error(`${where}: ${key} is ${show(found)}; wanted ${wanted}.`);
  const read = (key, absent, accepts, wanted) => {
    const value = json[key];
    if (value === void 0) return absent;
    if (accepts(value)) return value;
    throw refuse(key, value, wanted);
  };
  const size = (key, absent) => read(key, absent, isSize, 'a whole number above 0');
  const cap = (key, absent) => read(key, absent, orNull(isPositive), 'a number above 0, or null');
  const tokenId = (key, absent) => read(key, absent, orNull(isTokenId), 'a token id, or null');
  if (json.model_type !== 'gemma2') throw refuse('model_type', json.model_type, '"gemma2", the one model read here');
  read('attention_bias', false, isFalseOrNull, "false: Gemma-2's projections have no bias");
  read('use_bidirectional_attention', null, isFalseOrNull, 'false: each token sees only those before it');
  read('tie_word_embeddings', true, is(true), "true: Gemma-2's output head is its embedding");
  read('quantization_config', null, is(null), 'none: give the original, unquantised weights');
  read('hidden_activation', null, orNull(is(GELU_TANH)), `"${GELU_TANH}"`);
  if (json.hidden_activation === void 0) read('hidden_act', null, isGeluOrNull, `"${GELU_TANH}"`);
  const hiddenSize = size('hidden_size', gemma2_2b.hiddenSize);
  const layers = size('num_hidden_layers', gemma2_2b.layers);
  const heads = size('num_attention_heads', gemma2_2b.heads);
  const kvHeads = size('num_key_value_heads', gemma2_2b.kvHeads);
  const headDim = size('head_dim', gemma2_2b.headDim);
  if (heads % kvHeads !== 0) {
    throw refuse('num_attention_heads', heads, `a multiple of num_key_value_heads, which is ${kvHeads}`);
  }
  if (headDim % 2 !== 0) throw refuse('head_dim', headDim, 'an even number: rotary embeddings turn pairs');
  if (hiddenSize % heads !== 0) {
    throw refuse(
      'hidden_size',
      hiddenSize,
      `a multiple of num_attention_heads, which is ${heads}: transformers asks it`,
    );
  }
  const layerTypes = read('layer_types', null, orNull(isLayerTypes), `a list of ${LAYER_TYPES.join(' and ')}`);
  if (layerTypes && layerTypes.length !== layers) {
    throw refuse('layer_types', layerTypes, `${layers} entries, as num_hidden_layers says, not ${layerTypes.length}`);
  }
  const maxPositionEmbeddings = size('max_position_embeddings', gemma2_2b.maxPositionEmbeddings);
  const slidingWindow = read('sliding_window', gemma2_2b.slidingWindow, orNull(isSize), 'a whole number above 0');
  if (slidingWindow === null && layerTypes?.includes('sliding_attention') !== false) {
    throw refuse('sliding_window', null, 'a whole number above 0, since there are sliding_attention layers');
  }
  const eos = read('eos_token_id', 1, orNull(isTokenIds), 'a token id, a list of them, or null');
  return {
    vocabSize: size('vocab_size', gemma2_2b.vocabSize),
    hiddenSize,
    intermediateSize: size('intermediate_size', gemma2_2b.intermediateSize),
    layers,
    heads,
    kvHeads,
    headDim,
    queryPreAttnScalar: size('query_pre_attn_scalar', gemma2_2b.queryPreAttnScalar),
    slidingWindow: slidingWindow ?? maxPositionEmbeddings,
    attnLogitSoftcapping: cap('attn_logit_softcapping', gemma2_2b.attnLogitSoftcapping),
    finalLogitSoftcapping: cap('final_logit_softcapping', gemma2_2b.finalLogitSoftcapping),
    rmsNormEps: read('rms_norm_eps', gemma2_2b.rmsNormEps, isPositive, 'a number above 0'),
    ropeTheta: ropeTheta(json, refuse),
    maxPositionEmbeddings,
    layerTypes: layerTypes ?? alternating(layers),
    bosTokenId: tokenId('bos_token_id', gemma2_2b.bosTokenId),
    eosTokenIds: eos === null ? [] : [eos].flat(),
    padTokenId: tokenId('pad_token_id', gemma2_2b.padTokenId),
  };
}
var GELU_TANH = 'gelu_pytorch_tanh';
var LAYER_TYPES = ['sliding_attention', 'full_attention'];
function ropeTheta(json, refuse) {
  const key = json.rope_scaling ? 'rope_scaling' : 'rope_parameters';
  const rope2 = json[key] ?? {};
  if (!isObject(rope2) || LAYER_TYPES.some((type2) => Object.hasOwn(rope2, type2))) {
    throw refuse(key, rope2, 'an object with rope_theta and rope_type, one for all layers');
  }
  const type = rope2.rope_type ?? rope2.type ?? 'default';
  if (type !== 'default')
    throw refuse(`${key}.rope_type`, type, '"default": scaled rotary embeddings are not run here');
  const theta = rope2.rope_theta ?? json.rope_theta ?? gemma2_2b.ropeTheta;
  if (!isPositive(theta)) throw refuse('rope_theta', theta, 'a number above 0');
  return theta;
}
var isPositive = (value) => typeof value === 'number' && value > 0 && value < Infinity;
var isSize = (value) => Number.isSafeInteger(value) && isPositive(value);
var isTokenId = (value) => Number.isSafeInteger(value) && Number(value) >= 0;
var isTokenIds = (value) => isTokenId(value) || (Array.isArray(value) && value.every(isTokenId));
var isLayerTypes = (value) => Array.isArray(value) && value.every((type) => LAYER_TYPES.includes(type));
var isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
var is = (wanted) => (value) => value === wanted;
var orNull = (accepts) => (value) => value === null || accepts(value);
var isFalseOrNull = orNull(is(false));
var isGeluOrNull = (value) => value === null || value === 'gelu' || value === GELU_TANH;
function show(value) {
  const text = JSON.stringify(value) ?? 'missing';
  return text.length > 120 ? `${text.slice(0, 117)}...` : text;
}

// packages/gemma/src/model.ts
var embedding = (tape, model, ids) => tape.kernels.embed(model.embedding, ids, Math.sqrt(model.config.hiddenSize));
function block(tape, model, layer, x, layout) {
  const { heads, kvHeads, queryPreAttnScalar, attnLogitSoftcapping, rmsNormEps, layerTypes } = model.config;
  const w = model.blocks[layer];
  const h = tape.rmsNorm(x, w.inputNorm, rmsNormEps);
  const q = tape.rope(tape.linearToHeads(h, w.q, heads), layout.rotation);
  const k = tape.rope(tape.linearToHeads(h, w.k, kvHeads), layout.rotation);
  const v = tape.linearToHeads(h, w.v, kvHeads);
  const seen = layout.cache ? layout.cache.extend(layer, k, v) : { k, v };
  const attended = tape.attention(q, seen.k, seen.v, layout.spans[layerTypes[layer]], {
    scale: 1 / Math.sqrt(queryPreAttnScalar),
    cap: attnLogitSoftcapping,
  });
  const mixed = tape.rmsNorm(tape.linearFromHeads(attended, w.o), w.postAttentionNorm, rmsNormEps, x);
  const m = tape.rmsNorm(mixed, w.preFeedforwardNorm, rmsNormEps);
  const activated = tape.geglu(tape.linear(m, w.gate), tape.linear(m, w.up));
  return tape.rmsNorm(tape.linear(activated, w.down), w.postFeedforwardNorm, rmsNormEps, mixed);
}
var readout = (tape, model, x, rows2) => tape.rmsNorm(tape.rows(x, rows2), model.norm, model.config.rmsNormEps);

// packages/gemma/src/ops/answer-logps.ts
var tf = __toESM(require('@tensorflow/tfjs-core'), 1);
var CHUNK_VALUES = 1 << 24;
function logits(hidden, table, cap) {
  return tf.tidy(() => {
    const raw = tf.matMul(hidden, table.value(), false, true);
    return cap === null ? raw : tf.mul(tf.tanh(tf.div(raw, cap)), cap);
  });
}
function answerLogps(hidden, table, targets, cap) {
  const answers = hidden.shape[0];
  const vocabulary = table.shape[0];
  const perChunk = Math.max(1, Math.floor(CHUNK_VALUES / vocabulary));
  const starts = Array.from({ length: Math.ceil(answers / perChunk) }, (_, i) => i * perChunk);
  const chunk = (x, start) => tf.slice(x, [start, 0], [Math.min(perChunk, answers - start), x.shape[1]]);
  const targetsOf = (start) => tf.tensor1d(targets.subarray(start, start + perChunk), 'int32');
  const terms = starts.map((start) =>
    tf.tidy(() => {
      const l = logits(chunk(hidden, start), table, cap);
      const lse = tf.logSumExp(l, 1);
      return [
        tf.sub(pick(l, targetsOf(start)), lse),
        tf.sub(tf.logSumExp(tf.mul(l, 2), 1), tf.mul(lse, 2)),
        tf.sub(tf.max(l, 1), lse),
      ];
    }),
  );
  const [logps, logSumSquares, logMax] = [0, 1, 2].map((i) => {
    const parts = terms.map((term) => term[i]);
    const whole = tf.concat(parts);
    tf.dispose(parts);
    return whole;
  });
  const backward = (dLogps) => {
    const gradients = starts.map((start) => {
      const rows2 = chunk(hidden, start);
      const dRaw = tf.tidy(() => {
        const l = logits(rows2, table, cap);
        const d = tf.reshape(tf.slice(dLogps, [start], [rows2.shape[0]]), [-1, 1]);
        const dl = tf.mul(tf.sub(tf.oneHot(targetsOf(start), vocabulary, 1, 0, 'float32'), tf.softmax(l)), d);
        return cap === null ? dl : tf.mul(dl, tf.sub(1, tf.square(tf.div(l, cap))));
      });
      table.accumulate(tf.matMul(dRaw, rows2, true, false));
      const dRows = tf.matMul(dRaw, table.value());
      tf.dispose([rows2, dRaw]);
      return dRows;
    });
    const whole = tf.concat(gradients);
    tf.dispose(gradients);
    return whole;
  };
  return { logps, logSumSquares, logMax, backward };
}
var pick = (x, columns2) => tf.gatherND(x, tf.stack([tf.range(0, x.shape[0], 1, 'int32'), columns2], 1));

// packages/gemma/src/ops/attention.ts
var tf2 = __toESM(require('@tensorflow/tfjs-core'), 1);
function attention(q, k, v, spans, { scale, cap }, keep3) {
  const [heads, width, tokens] = q.shape;
  const keyHeads = k.shape[0];
  const group = heads / keyHeads;
  const saved = [];
  const queriesOf = (x, { row, rows: rows2 }) => {
    const apart = tf2.reshape(columns(x, row, rows2), [keyHeads, group, width, rows2]);
    const beside = group === 1 ? apart : tf2.transpose(apart, [0, 2, 1, 3]);
    return tf2.reshape(beside, [keyHeads, width, group * rows2]);
  };
  const asHeads = (x, { rows: rows2 }) => {
    const beside = tf2.reshape(x, [keyHeads, width, group, rows2]);
    const apart = group === 1 ? beside : tf2.transpose(beside, [0, 2, 1, 3]);
    return tf2.reshape(apart, [heads, width, rows2]);
  };
  const keysOf = (x, { keys }) => inOrder(keys.map((run) => columns(x, run.start, run.length)));
  const outputs = spans.map((span) =>
    tf2.tidy(() => {
      const scores = tf2.matMul(tf2.mul(queriesOf(q, span), scale / (cap ?? 1)), keysOf(k, span), true, false);
      const t = cap === null ? scores : tf2.tanh(scores);
      const p = tf2.softmax(masked(cap === null ? t : tf2.mul(t, cap), span));
      if (keep3) saved.push(...(cap === null ? [tf2.keep(p)] : [tf2.keep(p), tf2.keep(t)]));
      return asHeads(tf2.matMul(keysOf(v, span), p, false, true), span);
    }),
  );
  const value = inOrder(outputs);
  if (outputs.length > 1) tf2.dispose(outputs);
  const backward = (dy) =>
    tf2.tidy(() => {
      const dk = new KeyGradient(keyHeads, width, k.shape[2]);
      const dv = new KeyGradient(keyHeads, width, k.shape[2]);
      const each = cap === null ? 1 : 2;
      const dqs = spans.map((span, i) =>
        tf2.tidy(() => {
          const p = saved[i * each];
          const dO = queriesOf(dy, span);
          dv.add(span, tf2.matMul(dO, p));
          const through = tf2.mul(tf2.matMul(dO, keysOf(v, span), true, false), p);
          let ds = tf2.sub(through, tf2.mul(p, tf2.sum(through, 2, true)));
          if (cap !== null) ds = tf2.mul(ds, tf2.sub(1, tf2.square(saved[i * each + 1])));
          dk.add(span, tf2.mul(tf2.matMul(queriesOf(q, span), ds), scale));
          return asHeads(tf2.mul(tf2.matMul(keysOf(k, span), ds, false, true), scale), span);
        }),
      );
      return [tf2.reshape(inOrder(dqs), [heads, width, tokens]), dk.total(), dv.total()];
    });
  return { value, saved, backward };
  function masked(scores, span) {
    const mask = spanMask(span);
    if (!mask) return scores;
    const [, , count] = scores.shape;
    const byHead = tf2.reshape(scores, [heads, span.rows, count]);
    return tf2.reshape(tf2.add(byHead, mask), scores.shape);
  }
}
var columns = (x, start, length) =>
  start === 0 && length === x.shape[2] ? x : tf2.slice(x, [0, 0, start], [-1, -1, length]);
var inOrder = (parts) => (parts.length === 1 ? parts[0] : tf2.concat(parts, 2));
function spanMask({ rows: rows2, keys, lead, window }) {
  const count = keys.reduce((total, run) => total + run.length, 0);
  if (count - 1 <= lead && lead + rows2 - 1 < window) return null;
  const mask = new Float32Array(rows2 * count);
  for (let i = 0; i < rows2; i++) {
    for (let j = 0; j < count; j++) {
      const back = lead + i - j;
      if (back < 0 || back >= window) mask[i * count + j] = -1e9;
    }
  }
  return tf2.tensor2d(mask, [rows2, count]);
}
var KeyGradient = class {
  constructor(heads, width, count) {
    this.heads = heads;
    this.width = width;
    this.count = count;
  }
  heads;
  width;
  count;
  parts = [];
  /** `gradient` `[K, D, s]` of the span's keys. */
  add(span, gradient) {
    let at = 0;
    for (const { start, length } of span.keys) {
      this.parts.push({ start, length, gradient: tf2.keep(columns(gradient, at, length)) });
      at += length;
    }
  }
  /** `[K, D, S]`: zero where no span looked. Ends the collection. */
  total() {
    const cuts = [
      .../* @__PURE__ */ new Set([0, this.count, ...this.parts.flatMap((p) => [p.start, p.start + p.length])]),
    ];
    cuts.sort((a, b) => a - b);
    const whole = tf2.tidy(() => {
      const pieces = cuts.slice(1).map((end, i) => {
        const start = cuts[i];
        const over = this.parts
          .filter((p) => p.start <= start && end <= p.start + p.length)
          .map((p) => columns(p.gradient, start - p.start, end - start));
        if (over.length === 0) return tf2.zeros([this.heads, this.width, end - start]);
        return over.length === 1 ? over[0] : tf2.addN(over);
      });
      return inOrder(pieces).clone();
    });
    tf2.dispose(this.parts.map((p) => p.gradient));
    return whole;
  }
};

// packages/gemma/src/ops/embed.ts
var tf3 = __toESM(require('@tensorflow/tfjs-core'), 1);
function embed(table, ids, scale) {
  const factor = Math.fround(scale);
  return {
    value: tf3.tidy(() => tf3.mul(tf3.gather(table.value(), tf3.tensor1d(ids, 'int32')), factor)),
    saved: [],
    backward(dy) {
      table.accumulate(
        tf3.tidy(() => tf3.unsortedSegmentSum(tf3.mul(dy, factor), tf3.tensor1d(ids, 'int32'), table.shape[0])),
      );
      return [];
    },
  };
}

// packages/gemma/src/ops/geglu.ts
var tf4 = __toESM(require('@tensorflow/tfjs-core'), 1);
var LINEAR = 2 * Math.sqrt(2 / Math.PI);
var CUBIC = LINEAR * 0.044715;
function geglu(gate, up) {
  const gated = tf4.tidy(() => tf4.sigmoid(tf4.mul(gate, tf4.add(tf4.mul(tf4.square(gate), CUBIC), LINEAR))));
  return {
    value: tf4.tidy(() => tf4.mul(tf4.mul(gate, gated), up)),
    saved: [gated],
    backward: (dy) =>
      tf4.tidy(() => {
        const gelu = tf4.mul(gate, gated);
        const slope = tf4.add(tf4.mul(tf4.square(gate), 3 * CUBIC), LINEAR);
        const dGelu = tf4.add(gated, tf4.mul(tf4.mul(gelu, tf4.sub(1, gated)), slope));
        return [tf4.mul(tf4.mul(dy, up), dGelu), tf4.mul(dy, gelu)];
      }),
  };
}

// packages/gemma/src/ops/linear.ts
var tf5 = __toESM(require('@tensorflow/tfjs-core'), 1);
function linear(x, w) {
  return {
    value: tf5.matMul(x, valueOf(w), false, true),
    saved: [],
    backward(dy) {
      w.accumulate(tf5.matMul(dy, x, true, false));
      return [tf5.matMul(dy, valueOf(w))];
    },
  };
}
function linearToHeads(x, w, heads) {
  const features = w.shape[0];
  const tokens = x.shape[0];
  const flat = (dy) => tf5.reshape(dy, [features, tokens]);
  return {
    value: tf5.tidy(() => tf5.reshape(tf5.matMul(valueOf(w), x, false, true), [heads, features / heads, tokens])),
    saved: [],
    backward(dy) {
      w.accumulate(tf5.tidy(() => tf5.matMul(flat(dy), x)));
      return [tf5.tidy(() => tf5.matMul(flat(dy), valueOf(w), true, false))];
    },
  };
}
function linearFromHeads(x, w) {
  const [heads, width, tokens] = x.shape;
  const flat = () => tf5.reshape(x, [heads * width, tokens]);
  return {
    value: tf5.tidy(() => tf5.matMul(flat(), valueOf(w), true, true)),
    saved: [],
    backward(dy) {
      w.accumulate(tf5.tidy(() => tf5.matMul(dy, flat(), true, true)));
      return [tf5.tidy(() => tf5.reshape(tf5.matMul(valueOf(w), dy, true, true), x.shape))];
    },
  };
}
var valueOf = (w) => w.value();

// packages/gemma/src/ops/rms-norm.ts
var tf6 = __toESM(require('@tensorflow/tfjs-core'), 1);
function rmsNorm(x, w, epsilon, residual) {
  const gain = () => tf6.add(w.value(), 1);
  const inverse = tf6.tidy(() => tf6.rsqrt(tf6.add(tf6.mean(tf6.square(x), 1, true), epsilon)));
  const value = tf6.tidy(() => {
    const y = tf6.mul(tf6.mul(x, inverse), gain());
    return residual ? tf6.add(residual, y) : y;
  });
  return {
    value,
    saved: [inverse],
    backward(dy) {
      const [dx, dw] = tf6.tidy(() => {
        const normed = tf6.mul(x, inverse);
        const through = tf6.mul(dy, normed);
        const g = gain();
        const mean2 = tf6.mean(tf6.mul(through, g), 1, true);
        return [tf6.mul(tf6.sub(tf6.mul(dy, g), tf6.mul(normed, mean2)), inverse), tf6.sum(through, 0)];
      });
      w.accumulate(dw);
      return residual ? [dx, dy.clone()] : [dx];
    },
  };
}

// packages/gemma/src/ops/rope.ts
var tf7 = __toESM(require('@tensorflow/tfjs-core'), 1);
function rope(x, rotation2) {
  const { half } = rotation2;
  const cos = rotation2.cos;
  const sin = rotation2.sin;
  return {
    value: tf7.tidy(() => tf7.add(tf7.mul(x, cos), tf7.mul(swapHalves(x, half), sin))),
    saved: [],
    backward: (dy) => [tf7.tidy(() => tf7.add(tf7.mul(dy, cos), swapHalves(tf7.mul(dy, sin), half)))],
  };
}
var swapHalves = (x, half) => {
  const [first, second] = tf7.split(x, [half, half], 1);
  return tf7.concat([second, first], 1);
};
function rotation(positions, headDim, theta) {
  const tokens = positions.length;
  const half = headDim / 2;
  const cos = new Float32Array(headDim * tokens);
  const sin = new Float32Array(headDim * tokens);
  for (let i = 0; i < half; i++) {
    const frequency = Math.fround(1 / Math.fround(theta ** Math.fround((2 * i) / headDim)));
    for (let t = 0; t < tokens; t++) {
      const angle = Math.fround(positions[t] * frequency);
      const first = i * tokens + t;
      const second = (i + half) * tokens + t;
      cos[first] = cos[second] = Math.cos(angle);
      sin[second] = Math.sin(angle);
      sin[first] = -sin[second];
    }
  }
  const shape = [headDim, tokens];
  return { half, cos: tf7.tensor2d(cos, shape), sin: tf7.tensor2d(sin, shape) };
}

// packages/gemma/src/ops/shape.ts
var tf8 = __toESM(require('@tensorflow/tfjs-core'), 1);
function rows(x, indices) {
  return {
    value: tf8.tidy(() => tf8.gather(x, tf8.tensor1d(indices, 'int32'))),
    saved: [],
    backward: (dy) => [tf8.tidy(() => tf8.unsortedSegmentSum(dy, tf8.tensor1d(indices, 'int32'), x.shape[0]))],
  };
}
function sum3(a, b) {
  const total = tf8.add(a, b);
  tf8.dispose([a, b]);
  return total;
}
var join2 = (a, b) => tf8.concat([a, b], 2);

// packages/gemma/src/ops/kernels.ts
var composed = {
  embed,
  linear,
  linearToHeads,
  linearFromHeads,
  rmsNorm,
  rope,
  attention,
  geglu,
  rows,
  answerLogps,
  logits,
  sum: sum3,
  join: join2,
  rotation,
};

// packages/gemma/src/pack.ts
var ROWS = 256;
function packPairs(pairs, vocabSize) {
  const ids = [];
  const positions = [];
  const segments = [];
  const rows2 = [];
  const targets = [];
  const append = (tokens, before) => {
    const row = ids.length;
    const from = before?.rows ?? 0;
    for (let i = 0; i < tokens.length; i++) {
      ids.push(tokens[i]);
      positions.push(from + i);
    }
    const own = { start: row, length: tokens.length };
    const segment = { row, rows: tokens.length, keys: before ? [...before.keys, own] : [own] };
    segments.push(segment);
    return segment;
  };
  const answer = (tokens, prompt) => {
    const { row } = append(tokens, prompt);
    for (let i = 0; i < tokens.length; i++) {
      rows2.push(i === 0 ? prompt.row + prompt.rows - 1 : row + i - 1);
      targets.push(tokens[i]);
    }
    return tokens.length;
  };
  const answers = pairs.map((pair) => {
    checkPair(pair, vocabSize);
    const prompt = append(pair.prompt, null);
    return { chosen: answer(pair.chosen, prompt), rejected: answer(pair.rejected, prompt) };
  });
  return {
    ids: Int32Array.from(ids),
    positions: Int32Array.from(positions),
    segments,
    rows: Int32Array.from(rows2),
    targets: Int32Array.from(targets),
    answers,
  };
}
function layOut({ positions, segments }, config, kernels) {
  const rotation2 = kernels.rotation(positions, config.headDim, config.ropeTheta);
  return {
    rotation: rotation2,
    spans: {
      full_attention: segments.flatMap((segment) => spansOf(segment, Number.POSITIVE_INFINITY)),
      sliding_attention: segments.flatMap((segment) => spansOf(segment, config.slidingWindow)),
    },
    dispose() {
      rotation2.cos.dispose();
      rotation2.sin.dispose();
    },
  };
}
function spansOf({ row, rows: rows2, keys }, window) {
  const offset = keys.reduce((total, run) => total + run.length, 0) - rows2;
  const each = Math.ceil(rows2 / Math.ceil(rows2 / ROWS));
  const spans = [];
  for (let start = 0; start < rows2; start += each) {
    const count = Math.min(each, rows2 - start);
    const first = Math.max(0, offset + start - window + 1);
    const end = offset + start + count;
    spans.push({
      row: row + start,
      rows: count,
      keys: cut(keys, first, end),
      lead: offset + start - first,
      window,
    });
  }
  return spans;
}
function cut(runs, first, end) {
  const parts = [];
  let at = 0;
  for (const run of runs) {
    const from = Math.max(first, at);
    const to = Math.min(end, at + run.length);
    const last = parts.at(-1);
    const start = run.start + from - at;
    if (to > from) {
      if (last && last.start + last.length === start) last.length += to - from;
      else parts.push({ start, length: to - from });
    }
    at += run.length;
  }
  return parts;
}
function checkPair(pair, vocabSize) {
  for (const part of ['prompt', 'chosen', 'rejected']) {
    const tokens = pair[part];
    if (tokens.length === 0) {
      const mend = part === 'prompt' ? 'start it with the <bos> token' : 'drop the pair, or raise the length limit';
      throw new Error(`pair ${pair.id}: its ${part} has no tokens; ${mend}`);
    }
    for (let i = 0; i < tokens.length; i++) {
      const id = tokens[i];
      if (Number.isInteger(id) && id >= 0 && id < vocabSize) continue;
      throw new Error(
        `pair ${pair.id}: ${part} token ${i} is ${id}, but the model's vocabulary is 0 \u2026 ${vocabSize - 1}; encode the text with the model's own tokenizer`,
      );
    }
  }
}

// packages/gemma/src/tape.ts
var Tape = class {
  /** `record: false` keeps nothing for a backward pass. */
  constructor(kernels, record) {
    this.kernels = kernels;
    this.record = record;
  }
  kernels;
  record;
  steps = [];
  owned = /* @__PURE__ */ new Set();
  linear(x, w) {
    return this.run([x], this.kernels.linear(x, w));
  }
  linearToHeads(x, w, heads) {
    return this.run([x], this.kernels.linearToHeads(x, w, heads));
  }
  linearFromHeads(x, w) {
    return this.run([x], this.kernels.linearFromHeads(x, w));
  }
  rmsNorm(x, w, epsilon, residual) {
    return this.run(residual ? [x, residual] : [x], this.kernels.rmsNorm(x, w, epsilon, residual));
  }
  rope(x, rotation2) {
    return this.run([x], this.kernels.rope(x, rotation2));
  }
  attention(q, k, v, spans, scale) {
    return this.run([q, k, v], this.kernels.attention(q, k, v, spans, scale, this.record));
  }
  geglu(gate, up) {
    return this.run([gate, up], this.kernels.geglu(gate, up));
  }
  rows(x, indices) {
    return this.run([x], this.kernels.rows(x, indices));
  }
  /** d loss / d `input`, given `dy` = d loss / d `output` (freed here). Ends the tape: everything on it is freed. */
  backward(output, dy, input) {
    const gradients = /* @__PURE__ */ new Map([[output, dy]]);
    for (let step = this.steps.pop(); step; step = this.steps.pop()) {
      const gradient = gradients.get(step.result.value);
      if (gradient) {
        gradients.delete(step.result.value);
        const into = step.result.backward(gradient);
        gradient.dispose();
        step.inputs.forEach((value, i) => {
          const before = gradients.get(value);
          gradients.set(value, before ? this.kernels.sum(before, into[i]) : into[i]);
        });
      }
      this.free(step.result);
    }
    const result = gradients.get(input);
    gradients.delete(input);
    for (const unused of gradients.values()) unused.dispose();
    if (!result) throw new Error('the output does not depend on the input that a gradient was asked for');
    return result;
  }
  /** Hands `value` to the caller, who frees it. */
  release(value) {
    this.owned.delete(value);
    return value;
  }
  /** Frees everything that the tape still owns. */
  dispose() {
    for (const step of this.steps) for (const value of step.result.saved) value.dispose();
    for (const value of this.owned) value.dispose();
    this.steps = [];
    this.owned.clear();
  }
  run(inputs, result) {
    this.owned.add(result.value);
    if (this.record) this.steps.push({ inputs, result });
    else for (const value of result.saved) value.dispose();
    return result.value;
  }
  free({ value, saved }) {
    for (const kept of saved) kept.dispose();
    if (this.owned.delete(value)) value.dispose();
  }
};

// packages/gemma/src/parameter.ts
var tf9 = __toESM(require('@tensorflow/tfjs-core'), 1);
function parameter(name, initial, { decay = true } = {}) {
  const shape = initial.shape;
  let current = tf9.keep(initial);
  let sum4 = null;
  const checked = (tensor2, what) => {
    if (tensor2.shape.length === shape.length && tensor2.shape.every((n, i) => n === shape[i]))
      return tf9.keep(tensor2);
    throw new Error(`${name}: a ${what} of shape [${tensor2.shape}] cannot go where [${shape}] is held`);
  };
  const zeroGradient = () => {
    sum4?.dispose();
    sum4 = null;
  };
  return {
    name,
    shape,
    decay,
    value: () => current,
    assign(value) {
      const next = checked(value, 'value');
      current.dispose();
      current = next;
    },
    gradient: () => sum4,
    accumulate(gradient) {
      const before = sum4;
      sum4 = before ? tf9.keep(tf9.add(before, checked(gradient, 'gradient'))) : checked(gradient, 'gradient');
      if (before) tf9.dispose([before, gradient]);
    },
    assignGradient(gradient) {
      const next = checked(gradient, 'gradient');
      zeroGradient();
      sum4 = next;
    },
    zeroGradient,
    dispose() {
      zeroGradient();
      current.dispose();
    },
  };
}

// packages/gemma/src/policy.ts
var tf11 = __toESM(require('@tensorflow/tfjs-core'), 1);

// packages/gemma/src/weights.ts
var tf10 = __toESM(require('@tensorflow/tfjs-core'), 1);
var EMBEDDING = 'model.embed_tokens.weight';
var NORM = 'model.norm.weight';
var HEAD = 'lm_head.weight';
var blockTensors = (c) => ({
  inputNorm: ['input_layernorm', [c.hiddenSize]],
  q: ['self_attn.q_proj', [c.heads * c.headDim, c.hiddenSize]],
  k: ['self_attn.k_proj', [c.kvHeads * c.headDim, c.hiddenSize]],
  v: ['self_attn.v_proj', [c.kvHeads * c.headDim, c.hiddenSize]],
  o: ['self_attn.o_proj', [c.hiddenSize, c.heads * c.headDim]],
  postAttentionNorm: ['post_attention_layernorm', [c.hiddenSize]],
  preFeedforwardNorm: ['pre_feedforward_layernorm', [c.hiddenSize]],
  gate: ['mlp.gate_proj', [c.intermediateSize, c.hiddenSize]],
  up: ['mlp.up_proj', [c.intermediateSize, c.hiddenSize]],
  down: ['mlp.down_proj', [c.hiddenSize, c.intermediateSize]],
  postFeedforwardNorm: ['post_feedforward_layernorm', [c.hiddenSize]],
});
var blockName = (layer, part) => `model.layers.${layer}.${part}.weight`;
function tensorShapes(config) {
  const shapes = /* @__PURE__ */ new Map([[EMBEDDING, [config.vocabSize, config.hiddenSize]]]);
  for (let layer = 0; layer < config.layers; layer++) {
    for (const [part, shape] of Object.values(blockTensors(config))) shapes.set(blockName(layer, part), shape);
  }
  return shapes.set(NORM, [config.hiddenSize]);
}
async function loadWeights(config, source) {
  checkTensors(config, source);
  const placed = /* @__PURE__ */ new Map();
  try {
    for (const [name, shape] of tensorShapes(config)) {
      const value = tf10.tensor(await source.read(name), [...shape], 'float32');
      placed.set(name, parameter(name, value, { decay: !name.includes('norm') }));
    }
    if (source.names().includes(HEAD)) await checkTiedHead(source);
  } catch (error) {
    for (const { dispose: dispose6 } of placed.values()) dispose6();
    throw error;
  }
  const at = (name) => placed.get(name);
  const parts = Object.entries(blockTensors(config));
  return {
    config,
    embedding: at(EMBEDDING),
    blocks: Array.from({ length: config.layers }, (_, layer) =>
      Object.fromEntries(parts.map(([key, [part]]) => [key, at(blockName(layer, part))])),
    ),
    norm: at(NORM),
  };
}
var parametersOf = (model) => [model.embedding, ...model.blocks.flatMap((block2) => Object.values(block2)), model.norm];
function checkTensors(config, source) {
  const wanted = tensorShapes(config);
  const found = new Set(source.names());
  const missing = [...wanted.keys()].filter((name) => !found.has(name));
  const unexpected = [...found].filter((name) => !wanted.has(name) && name !== HEAD);
  const misshapen = [...wanted].flatMap(([name, shape]) => {
    if (!found.has(name)) return [];
    const has = source.info(name).shape;
    return has.length === shape.length && has.every((n, i) => n === shape[i])
      ? []
      : [`${name} is [${has}], wanted [${shape}]`];
  });
  const problems = [
    ...(missing.length ? [`missing: ${listed(missing)}`] : []),
    ...(unexpected.length ? [`unexpected: ${listed(unexpected)}`] : []),
    ...(misshapen.length ? [`of another shape: ${listed(misshapen)}`] : []),
  ];
  if (problems.length === 0) return;
  throw new Error(
    `the checkpoint's tensors are not those of its config.json (${config.layers} layers, hidden size ${config.hiddenSize}): ${problems.join('; ')}. Check that config.json and the safetensors files belong together`,
  );
}
async function checkTiedHead(source) {
  const [head, table] = [await source.read(HEAD), await source.read(EMBEDDING)];
  if (head.length === table.length && head.every((value, i) => Object.is(value, table[i]))) return;
  throw new Error(
    `${HEAD} differs from ${EMBEDDING}, but Gemma-2's output head is its embedding: re-tie them, then save again`,
  );
}
var listed = (names) =>
  names.length > 8 ? `${names.slice(0, 8).join(', ')} and ${names.length - 8} more` : names.join(', ');

// packages/gemma/src/policy.ts
function gemmaPolicy(model, kernels = composed) {
  return {
    model,
    parameters: parametersOf(model),
    forward: (pairs, { train }) => forward(model, kernels, pairs, train),
  };
}
function forward(model, kernels, pairs, train) {
  const packed = packPairs(pairs, model.config.vocabSize);
  const layout = layOut(packed, model.config, kernels);
  const quiet = new Tape(kernels, false);
  const embedded = embedding(quiet, model, packed.ids);
  const inputs = [];
  let x = embedded.value;
  for (let layer = 0; layer < model.blocks.length; layer++) {
    const output = quiet.release(block(quiet, model, layer, x, layout));
    quiet.dispose();
    if (train) inputs.push(x);
    else x.dispose();
    x = output;
  }
  const last = x;
  const head = new Tape(kernels, train);
  const hidden = readout(head, model, last, packed.rows);
  const answers = kernels.answerLogps(hidden, model.embedding, packed.targets, model.config.finalLogitSoftcapping);
  const terms = splitAnswers(answers, packed.answers);
  if (!train) {
    head.dispose();
    last.dispose();
    layout.dispose();
  }
  let open2 = train;
  return {
    pairs: terms,
    backward(gradients) {
      if (!open2) throw new Error('backward: this pass was made with `train: false`, or has gone back already');
      open2 = false;
      const dLogps = tf11.concat(gradients.flatMap(({ chosen, rejected }) => [chosen, rejected]));
      let dx = head.backward(hidden, answers.backward(dLogps), last);
      tf11.dispose(dLogps);
      last.dispose();
      for (let layer = model.blocks.length - 1; layer >= 0; layer--) {
        const input = inputs.pop();
        const tape = new Tape(kernels, true);
        dx = tape.backward(block(tape, model, layer, input, layout), dx, input);
        tape.dispose();
        input.dispose();
      }
      embedded.backward(dx);
      dx.dispose();
      layout.dispose();
    },
    dispose() {
      if (open2) {
        for (const value of [...inputs, last]) value.dispose();
        head.dispose();
        layout.dispose();
        open2 = false;
      }
      for (const { chosen, rejected } of terms) tf11.dispose([{ ...chosen }, { ...rejected }]);
    },
  };
}
function splitAnswers({ logps, logSumSquares, logMax }, answers) {
  let at = 0;
  const take = (length) => {
    const slice4 = (x) => tf11.slice(x, [at], [length]);
    const terms = { logps: slice4(logps), logSumSquares: slice4(logSumSquares), logMax: slice4(logMax) };
    at += length;
    return terms;
  };
  const pairs = answers.map(({ chosen, rejected }) => ({ chosen: take(chosen), rejected: take(rejected) }));
  tf11.dispose([logps, logSumSquares, logMax]);
  return pairs;
}

// packages/gemma/src/node/model-folder.ts
var import_promises2 = require('node:fs/promises');
var import_node_path3 = require('node:path');

// packages/gemma/src/node/read-checkpoint.ts
var import_promises = require('node:fs/promises');
var import_node_path2 = require('node:path');

// packages/gemma/src/dtype.ts
var littleEndianHost = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;
function bf16ToF32(bits, out = new Float32Array(bits.length)) {
  const wide = bitsOf(out, bits.length);
  for (let i = 0; i < bits.length; i++) wide[i] = bits[i] << 16;
  return out;
}
function f16ToF32(bits, out = new Float32Array(bits.length)) {
  const wide = bitsOf(out, bits.length);
  widened ??= widenedHalves();
  for (let i = 0; i < bits.length; i++) wide[i] = widened[bits[i]];
  return out;
}
var widened;
function widenedHalves() {
  const table = new Int32Array(65536);
  const value = new Float32Array(1);
  const pattern = new Int32Array(value.buffer);
  for (let half = 0; half < 32768; half++) {
    const exponent = half >>> 10;
    const fraction = half & 1023;
    if (exponent === 0) value[0] = fraction * 2 ** -24;
    else if (exponent < 31) pattern[0] = ((exponent - 15 + 127) << 23) | (fraction << 13);
    else pattern[0] = 2139095040 | (fraction << 13);
    table[half] = pattern[0];
    table[half | 32768] = pattern[0] | 2147483648;
  }
  return table;
}
function bitsOf(values, length) {
  if (values.length !== length) throw lengthMismatch(length, values.length);
  return new Int32Array(values.buffer, values.byteOffset, length);
}
var lengthMismatch = (wanted, found) =>
  new RangeError(`the output array holds ${found} values, wanted ${wanted}: one for each input value`);

// packages/gemma/src/safetensors.ts
var BYTES = {
  C64: 8,
  F64: 8,
  I64: 8,
  U64: 8,
  F32: 4,
  I32: 4,
  U32: 4,
  BF16: 2,
  F16: 2,
  I16: 2,
  U16: 2,
  BOOL: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  F8_E8M0: 1,
  I8: 1,
  U8: 1,
};
var SafetensorsError = class extends Error {
  name = 'SafetensorsError';
};
var MAX_HEADER_BYTES = 1e8;
var MAX_DEPTH = 3;
var PREFIX_BYTES = 8;
function headerByteLength(prefix, fileSize, where) {
  if (prefix.length < PREFIX_BYTES || fileSize < PREFIX_BYTES) {
    throw new SafetensorsError(
      `${where}: holds ${Math.min(prefix.length, fileSize)} bytes; wanted at least 8, a header's length. The file may be empty or cut short: fetch it again.`,
    );
  }
  if (new TextDecoder().decode(prefix.subarray(0, PREFIX_BYTES)) === 'version ') {
    throw new SafetensorsError(
      `${where}: begins with "version ", as a Git LFS pointer does; wanted a safetensors file. Fetch the file that the pointer stands for: git lfs pull.`,
    );
  }
  const length = new DataView(prefix.buffer, prefix.byteOffset).getBigUint64(0, true);
  const most = Math.min(MAX_HEADER_BYTES, fileSize - PREFIX_BYTES);
  if (length > BigInt(most)) {
    throw new SafetensorsError(
      `${where}: the header's length is ${length} bytes; wanted at most ${most} (the file has ${fileSize} bytes). The file is cut short or is not a safetensors file.`,
    );
  }
  return PREFIX_BYTES + Number(length);
}
function parseHeader(bytes, fileSize, where) {
  const dataStart = headerByteLength(bytes, fileSize, where);
  if (bytes.length < dataStart) {
    throw new SafetensorsError(
      `${where}: ${bytes.length} bytes given; wanted ${dataStart}, the length and the header.`,
    );
  }
  const { __metadata__: metadata, ...entries } = parseJson(bytes.subarray(PREFIX_BYTES, dataStart), where);
  const tensors = Object.entries(entries).map(([name, entry]) => parseEntry(name, entry, dataStart, where));
  tensors.sort(([, a], [, b]) => a.offset - b.offset || a.byteLength - b.byteLength);
  checkContiguous(tensors, dataStart, fileSize, where);
  return { tensors: new Map(tensors), metadata: parseMetadata(metadata, where) };
}
function parseJson(bytes, where) {
  const refuse = (found) =>
    new SafetensorsError(`${where}: the header ${found}; wanted a JSON object. The file is damaged: fetch it again.`);
  let text;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw refuse('is not UTF-8 text');
  }
  if (!text.startsWith('{')) throw refuse(`begins with ${show2(text.slice(0, 8))}`);
  checkKeysAndDepth(text, where);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw refuse(`is not JSON (${error instanceof Error ? error.message : error})`);
  }
}
function checkKeysAndDepth(text, where) {
  const colon = /[ \t\n\r]*:/y;
  const open2 = [];
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (character === '{' || character === '[') {
      open2.push(/* @__PURE__ */ new Set());
      if (open2.length > MAX_DEPTH) {
        throw new SafetensorsError(`${where}: the header nests ${open2.length} deep; wanted at most ${MAX_DEPTH}.`);
      }
    } else if (character === '}' || character === ']') {
      open2.pop();
    } else if (character === '"') {
      const start = i++;
      while (i < text.length && text[i] !== '"') i += text[i] === '\\' ? 2 : 1;
      colon.lastIndex = i + 1;
      if (!colon.test(text)) continue;
      const key = decodedKey(text.slice(start, i + 1));
      const keys = open2.at(-1);
      if (keys?.has(key)) throw new SafetensorsError(`${where}: the header gives ${show2(key)} twice; wanted once.`);
      keys?.add(key);
    }
  }
}
function decodedKey(quoted) {
  try {
    return JSON.parse(quoted);
  } catch {
    return quoted;
  }
}
function parseMetadata(found, where) {
  if (found === void 0) return /* @__PURE__ */ new Map();
  if (!isObject2(found))
    throw new SafetensorsError(`${where}: __metadata__ is ${show2(found)}; wanted an object of text.`);
  return new Map(
    Object.entries(found).map(([key, value]) => {
      if (typeof value === 'string') return [key, value];
      throw new SafetensorsError(`${where}: __metadata__ ${show2(key)} is ${show2(value)}; wanted text.`);
    }),
  );
}
function parseEntry(name, entry, dataStart, where) {
  const refuse = (what, found, wanted) =>
    new SafetensorsError(`${where}: tensor ${show2(name)}: ${what} ${show2(found)}; wanted ${wanted}.`);
  if (!isObject2(entry)) throw refuse('is', entry, 'an object with dtype, shape and data_offsets');
  const { dtype, shape, data_offsets: offsets } = entry;
  if (!isDtype(dtype)) throw refuse('dtype is', dtype, `one of ${Object.keys(BYTES).join(', ')}`);
  if (!isCounts(shape)) throw refuse('shape is', shape, 'a list of whole numbers from 0');
  if (!isCounts(offsets) || offsets.length !== 2) throw refuse('data_offsets is', offsets, 'two whole numbers from 0');
  const [begin, end] = offsets;
  const byteLength = checkedByteLength(name, dtype, shape, where);
  if (end - begin !== byteLength) {
    throw refuse('data_offsets span', end - begin, `${byteLength} bytes, as ${dtype} ${show2(shape)} takes`);
  }
  return [name, { dtype, shape, offset: dataStart + begin, byteLength }];
}
function checkContiguous(tensors, dataStart, fileSize, where) {
  let end = dataStart;
  let before = 'the header';
  for (const [name, { offset, byteLength }] of tensors) {
    if (offset !== end) {
      throw new SafetensorsError(
        `${where}: tensor ${show2(name)} begins at byte ${offset - dataStart} of the data; wanted ${end - dataStart}, where ${before} ends: the data may hold no ${offset > end ? 'holes' : 'overlaps'}.`,
      );
    }
    end = offset + byteLength;
    before = `tensor ${show2(name)}`;
  }
  if (end !== fileSize) {
    throw new SafetensorsError(
      `${where}: the file has ${fileSize} bytes; wanted ${end}, where ${before} ends. ` +
        (fileSize < end
          ? 'It is cut short: fetch it again.'
          : 'What follows belongs to no tensor: the file is damaged.'),
    );
  }
}
function checkedByteLength(name, dtype, shape, where) {
  if (!isCounts(shape)) {
    throw new SafetensorsError(
      `${where}: tensor ${show2(name)}: shape is ${show2(shape)}; wanted a list of whole numbers from 0.`,
    );
  }
  const bytes = shape.includes(0) ? 0 : shape.reduce((product, n) => product * n, BYTES[dtype]);
  if (!Number.isSafeInteger(bytes)) {
    throw new SafetensorsError(
      `${where}: tensor ${show2(name)}: shape ${show2(shape)} of ${dtype} takes ${bytes} bytes; wanted at most ${Number.MAX_SAFE_INTEGER}.`,
    );
  }
  return bytes;
}
var isDtype = (value) => typeof value === 'string' && Object.hasOwn(BYTES, value);
var isCounts = (value) =>
  Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0 && !Object.is(n, -0));
var isObject2 = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
function show2(value) {
  const text = JSON.stringify(value) ?? 'missing';
  return text.length > 120 ? `${text.slice(0, 117)}...` : text;
}

// packages/gemma/src/node/pieces.ts
var LANES = 2;
var PIECE_BYTES = 2 ** 21;
async function inPieces(total, job) {
  let next = 0;
  const lane = async () => {
    const scratch = new ArrayBuffer(Math.min(PIECE_BYTES, total));
    while (next < total) {
      const start = next;
      const end = Math.min(start + PIECE_BYTES, total);
      next = end;
      try {
        await job(start, end, scratch);
      } catch (error) {
        next = total;
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
}
async function readFully(file, target, position, where) {
  let done = 0;
  while (done < target.length) {
    const { bytesRead } = await file.read(target, done, target.length - done, position + done);
    if (bytesRead === 0) {
      throw new Error(
        `${where}: the file ends at byte ${position + done}; wanted ${target.length - done} more. It was whole when opened: is something rewriting it?`,
      );
    }
    done += bytesRead;
  }
}

// packages/gemma/src/node/read-checkpoint.ts
var SINGLE = 'model.safetensors';
var INDEX = 'model.safetensors.index.json';
async function openCheckpoint(dir) {
  if (await isFile((0, import_node_path2.join)(dir, SINGLE)))
    return openSafetensors((0, import_node_path2.join)(dir, SINGLE));
  const indexPath = (0, import_node_path2.join)(dir, INDEX);
  if (!(await isFile(indexPath))) {
    throw new Error(
      `${dir}: holds neither ${SINGLE} nor ${INDEX}; wanted a folder as transformers' save_pretrained writes it. PyTorch .bin files are not read: save the model again with safetensors.`,
    );
  }
  const weightMap = await readWeightMap(indexPath);
  const files = await openAll(
    [...new Set(weightMap.values())].sort().map((shard) => (0, import_node_path2.join)(dir, shard)),
    indexPath,
  );
  try {
    checkIndex(weightMap, files, indexPath);
  } catch (error) {
    await closeAll(files);
    throw error;
  }
  return checkpointOf(files, dir);
}
async function openSafetensors(path) {
  return checkpointOf([await openFile(path)], path);
}
function checkpointOf(files, where) {
  const found = new Map(files.flatMap((file) => [...file.tensors].map(([name, entry]) => [name, { file, entry }])));
  const find = (name) => {
    const tensor2 = found.get(name);
    if (tensor2) return tensor2;
    throw new Error(`${where}: no tensor is named "${name}"; it holds ${found.size}, ${someOf([...found.keys()])}.`);
  };
  return {
    where,
    names: () => [...found.keys()],
    has: (name) => found.has(name),
    info: (name) => {
      const { dtype, shape } = find(name).entry;
      return { dtype, shape };
    },
    read: (name) => readValues(name, find(name)),
    readRaw: (name) => readBytes(name, find(name)),
    close: () => closeAll(files),
  };
}
async function readValues(name, { file, entry }) {
  const where = `${file.path}: tensor "${name}"`;
  const { dtype, offset, byteLength } = entry;
  if (dtype === 'F32') return new Float32Array((await readBytes(name, { file, entry })).buffer);
  if (dtype !== 'BF16' && dtype !== 'F16') {
    throw new Error(
      `${where} is ${dtype}; wanted F32, BF16 or F16. Quantised checkpoints are not read: use the original weights.`,
    );
  }
  const widen = dtype === 'BF16' ? bf16ToF32 : f16ToF32;
  const values = new Float32Array(byteLength / 2);
  await inPieces(byteLength, async (start, end, scratch) => {
    const bytes = new Uint8Array(scratch, 0, end - start);
    await readFully(file.handle, bytes, offset + start, where);
    widen(new Uint16Array(scratch, 0, bytes.length / 2), values.subarray(start / 2, end / 2));
  });
  return values;
}
async function readBytes(name, { file, entry }) {
  const bytes = new Uint8Array(entry.byteLength);
  await inPieces(entry.byteLength, (start, end) =>
    readFully(file.handle, bytes.subarray(start, end), entry.offset + start, `${file.path}: tensor "${name}"`),
  );
  return bytes;
}
async function openFile(path) {
  if (!littleEndianHost) {
    throw new Error(
      `${path}: this machine keeps numbers highest byte first; safetensors files are read on others only.`,
    );
  }
  const handle = await (0, import_promises.open)(path, 'r');
  try {
    const { size } = await handle.stat();
    const prefix = new Uint8Array(Math.min(8, size));
    await readFully(handle, prefix, 0, path);
    const head = new Uint8Array(headerByteLength(prefix, size, path));
    await readFully(handle, head, 0, path);
    return { path, handle, tensors: parseHeader(head, size, path).tensors };
  } catch (error) {
    await handle.close();
    throw error;
  }
}
async function openAll(paths, indexPath) {
  const files = [];
  try {
    for (const path of paths) {
      if (!(await isFile(path))) {
        throw new SafetensorsError(
          `${indexPath}: names the shard ${(0, import_node_path2.basename)(path)}, which is not in ${(0, import_node_path2.dirname)(path)}. Fetch the missing file.`,
        );
      }
      files.push(await openFile(path));
    }
    return files;
  } catch (error) {
    await closeAll(files);
    throw error;
  }
}
async function closeAll(files) {
  await Promise.all(files.map((file) => file.handle.close()));
}
async function readWeightMap(indexPath) {
  const refuse = (found) =>
    new SafetensorsError(
      `${indexPath}: ${found}; wanted {"weight_map": {tensor: "model-\u2026.safetensors", \u2026}}.`,
    );
  let index;
  try {
    index = JSON.parse(await (0, import_promises.readFile)(indexPath, 'utf8'));
  } catch (error) {
    if (error instanceof SyntaxError) throw refuse(`not JSON (${error.message})`);
    throw error;
  }
  const weightMap = isObject3(index) ? index.weight_map : void 0;
  if (!isObject3(weightMap)) throw refuse('has no weight_map object');
  return new Map(
    Object.entries(weightMap).map(([name, shard]) => {
      if (typeof shard === 'string' && shard.endsWith('.safetensors') && !/[/\\]/.test(shard)) return [name, shard];
      throw refuse(`weight_map "${name}" is ${JSON.stringify(shard)}, not the name of a .safetensors file beside it`);
    }),
  );
}
function checkIndex(weightMap, files, indexPath) {
  const shards = new Map(files.map((file) => [(0, import_node_path2.basename)(file.path), file.tensors]));
  const missing = [...weightMap].filter(([name, shard]) => !shards.get(shard)?.has(name));
  if (missing.length > 0) {
    const [name, shard] = missing[0];
    throw new SafetensorsError(
      `${indexPath}: says that "${name}" is in ${shard}, which does not hold it (${missing.length} such). The shards and the index are of different saves: fetch or save them together.`,
    );
  }
  for (const [shard, tensors] of shards) {
    const extra = [...tensors.keys()].filter((name) => weightMap.get(name) !== shard);
    if (extra.length === 0) continue;
    throw new SafetensorsError(
      `${indexPath}: does not list ${extra.length} of the tensors in ${shard}: ${someOf(extra)}. The shards and the index are of different saves: fetch or save them together.`,
    );
  }
}
async function isFile(path) {
  try {
    return (await (0, import_promises.stat)(path)).isFile();
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false;
    throw error;
  }
}
var someOf = (names) => (names.length > 3 ? `${names.slice(0, 3).join(', ')} and others` : names.join(', ') || 'none');
var isObject3 = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

// packages/gemma/src/node/model-folder.ts
async function readModelFolder(dir) {
  const configPath = (0, import_node_path3.join)(dir, 'config.json');
  const configJson = await readJsonObject(configPath);
  if (configJson === void 0) {
    throw new Error(
      `${dir}: holds no config.json; wanted a model's folder with config.json, tokenizer.json and model.safetensors or shards with their index. Is the path right?`,
    );
  }
  return {
    config: parseConfig(configJson, configPath),
    configJson,
    generationConfig: await readJsonObject((0, import_node_path3.join)(dir, 'generation_config.json')),
    checkpoint: await openCheckpoint(dir),
  };
}
async function readJsonObject(path) {
  let json;
  try {
    json = JSON.parse(await (0, import_promises2.readFile)(path, 'utf8'));
  } catch (error) {
    if (isMissing(error)) return void 0;
    if (error instanceof SyntaxError) throw new Error(`${path}: is not JSON (${error.message}); wanted a JSON object.`);
    throw error;
  }
  if (typeof json === 'object' && json !== null && !Array.isArray(json)) return json;
  throw new Error(`${path}: holds ${JSON.stringify(json).slice(0, 40)}; wanted a JSON object.`);
}
var isMissing = (error) => error instanceof Error && 'code' in error && error.code === 'ENOENT';

// packages/data/src/chat-template.ts
var import_jinja = require('@huggingface/jinja');

// packages/data/src/python-strip.ts
var WHITESPACE =
  '	\n\v\f\r \x85\xA0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200A\u2028\u2029\u202F\u205F\u3000';
function strip(text, chars) {
  return stripEnd(stripStart(text, chars), chars);
}
function stripStart(text, chars = WHITESPACE) {
  const set = new Set(chars);
  let start = 0;
  for (const char of text) {
    if (!set.has(char)) break;
    start += char.length;
  }
  return text.slice(start);
}
function stripEnd(text, chars = WHITESPACE) {
  const set = new Set(chars);
  let end = text.length;
  while (end > 0) {
    const wide = end > 1 && (text.codePointAt(end - 2) ?? 0) > 65535;
    const char = text.slice(wide ? end - 2 : end - 1, end);
    if (!set.has(char)) break;
    end -= char.length;
  }
  return text.slice(0, end);
}

// packages/data/src/chat-template.ts
var ChatTemplateError = class extends Error {
  constructor(stage, message, options) {
    super(message, options);
    this.stage = stage;
  }
  stage;
  name = 'ChatTemplateError';
};
function renderChat(template, messages2, options = {}) {
  const parsed = parse(template);
  if (messages2.length === 0) {
    throw new ChatTemplateError(
      'render',
      'found no messages, wanted at least one. Give the conversation\u2019s turns.',
    );
  }
  try {
    return parsed.render({
      ...pythonStrips,
      messages: messages2.map(({ role, content }) => ({ role, content })),
      add_generation_prompt: options.addGenerationPrompt ?? false,
      bos_token: options.bosToken,
      eos_token: options.eosToken,
      tools: null,
      documents: null,
    });
  } catch (error) {
    throw new ChatTemplateError('render', why(error), { cause: error });
  }
}
var latest;
function parse(source) {
  if (latest?.source !== source) {
    try {
      const parsed = new import_jinja.Template(source);
      usePythonStrip(parsed.parsed);
      latest = { source, parsed };
    } catch (error) {
      throw new ChatTemplateError('parse', `the chat template is not Jinja that can be read: ${why(error)}`, {
        cause: error,
      });
    }
  }
  return latest.parsed;
}
var why = (error) => (error instanceof Error ? error.message : String(error));
var FUNCTIONS = { strip: 'python_strip', lstrip: 'python_lstrip', rstrip: 'python_rstrip' };
var onText = (apply) => (value, chars) => {
  if (value === void 0) return '';
  if (typeof value !== 'string') throw new Error(`cannot strip ${typeof value}, wanted text`);
  if (chars !== void 0 && chars !== null && typeof chars !== 'string') {
    throw new Error('strip takes the characters to strip as one text');
  }
  return apply(value, chars ?? void 0);
};
var pythonStrips = {
  [FUNCTIONS.strip]: onText(strip),
  [FUNCTIONS.lstrip]: onText(stripStart),
  [FUNCTIONS.rstrip]: onText(stripEnd),
};
function usePythonStrip(value) {
  if (Array.isArray(value)) {
    for (const item of value) usePythonStrip(item);
  } else if (value instanceof Map) {
    for (const entry of value) usePythonStrip(entry);
  } else if (isNode(value)) {
    for (const part of Object.values(value)) usePythonStrip(part);
    const call = stripCall(value);
    if (call !== void 0) Object.assign(value, call);
  }
}
function stripCall(node) {
  const call = (name, args) => ({
    type: 'CallExpression',
    callee: { type: 'Identifier', value: FUNCTIONS[name] },
    args,
  });
  if (node.type === 'FilterExpression' && isNode(node.filter)) {
    if (identifier(node.filter) === 'trim') return call('strip', [node.operand]);
    if (identifier(node.filter.callee) === 'trim') return call('strip', [node.operand, ...list(node.filter.args)]);
  }
  if (node.type === 'CallExpression' && isNode(node.callee) && node.callee.type === 'MemberExpression') {
    const name = node.callee.computed === false ? identifier(node.callee.property) : void 0;
    if (name === 'strip' || name === 'lstrip' || name === 'rstrip') {
      return call(name, [node.callee.object, ...list(node.args)]);
    }
  }
  return void 0;
}
var isNode = (value) => typeof value === 'object' && value !== null && typeof value.type === 'string';
var identifier = (value) =>
  isNode(value) && value.type === 'Identifier' && typeof value.value === 'string' ? value.value : void 0;
var list = (value) => (Array.isArray(value) ? value : []);

// packages/data/src/row-error.ts
var RowError = class extends Error {
  name = 'RowError';
  file;
  line;
  field;
  found;
  wanted;
  mend;
  constructor(at, fault, options) {
    const field2 = fault.field === void 0 ? '' : ` "${fault.field}":`;
    super(`${at.file}:${at.line}:${field2} found ${fault.found}, wanted ${fault.wanted}. ${fault.mend}`, options);
    this.file = at.file;
    this.line = at.line;
    if (fault.field !== void 0) this.field = fault.field;
    this.found = fault.found;
    this.wanted = fault.wanted;
    this.mend = fault.mend;
  }
};

// packages/data/src/json-stream.ts
var TAB = 9;
var NEWLINE = 10;
var RETURN = 13;
var SPACE = 32;
var QUOTE = 34;
var COMMA = 44;
var OPEN_LIST = 91;
var BACKSLASH = 92;
var CLOSE_LIST = 93;
var OPEN_OBJECT = 123;
var CLOSE_OBJECT = 125;
var isSpace = (byte) => byte === SPACE || byte === NEWLINE || byte === RETURN || byte === TAB;
async function* splitRows(chunks, options) {
  const source = iterate(chunks);
  try {
    const head = await readHead(source);
    refuseOtherKinds(head, options.file);
    const text = head[0] === 239 && head[1] === 187 && head[2] === 191 ? head.subarray(3) : head;
    const first = text.find((byte) => !isSpace(byte));
    const format = options.format === 'auto' ? (first === OPEN_LIST ? 'json' : 'jsonl') : options.format;
    const all = prepend(text, source);
    if (format === 'json') yield* splitArray(all, options.file, options.maxRowBytes);
    else yield* splitLines(all, options.maxRowBytes);
  } finally {
    await source.return();
  }
}
async function* splitLines(chunks, maxRowBytes) {
  let line = 1;
  let row = new Gather(line, maxRowBytes);
  for await (const chunk of chunks) {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(NEWLINE, start);
      row.add(chunk.subarray(start, end < 0 ? chunk.length : end));
      if (end < 0) break;
      if (!row.blank) yield row.take();
      row = new Gather(++line, maxRowBytes);
      start = end + 1;
    }
  }
  if (!row.blank) yield row.take();
}
async function* splitArray(chunks, file, maxRowBytes) {
  const broken = (line2, found, mend) => {
    throw new RowError({ file, line: line2 }, { found, wanted: 'a JSON array of rows', mend });
  };
  let line = 1;
  let state = 'before';
  let row = new Gather(line, maxRowBytes);
  let depth = 0;
  let inText = false;
  let escaped = false;
  for await (const chunk of chunks) {
    let start = 0;
    for (let i = 0; i < chunk.length; i++) {
      const byte = chunk[i];
      if (byte === NEWLINE) line++;
      if (inText) {
        if (escaped) escaped = false;
        else if (byte === BACKSLASH) escaped = true;
        else if (byte === QUOTE) inText = false;
        continue;
      }
      if (state === 'inside') {
        if (byte === QUOTE) inText = true;
        else if (byte === OPEN_LIST || byte === OPEN_OBJECT) depth++;
        else if (depth > 0 && (byte === CLOSE_LIST || byte === CLOSE_OBJECT)) depth--;
        else if (depth === 0 && byte === CLOSE_OBJECT) broken(line, 'a } that closes nothing', 'Remove it.');
        else if (depth === 0 && (byte === COMMA || byte === CLOSE_LIST)) {
          row.add(chunk.subarray(start, i));
          yield row.take();
          state = byte === COMMA ? 'next' : 'after';
        }
        continue;
      }
      if (isSpace(byte)) continue;
      if (state === 'before') {
        if (byte !== OPEN_LIST) broken(line, 'no [ at the start', 'Write [ and ] around the rows, or one row a line.');
        state = 'first';
      } else if (state === 'after') {
        broken(line, 'more after the ] that closes the array', 'Remove it, or move it into the array.');
      } else if (byte === CLOSE_LIST && state === 'first') {
        state = 'after';
      } else if (byte === COMMA || byte === CLOSE_LIST || byte === CLOSE_OBJECT) {
        broken(
          line,
          `a ${String.fromCharCode(byte)} where a row should be`,
          'Remove the comma too many, or add the row.',
        );
      } else {
        row = new Gather(line, maxRowBytes);
        start = i;
        state = 'inside';
        depth = byte === OPEN_LIST || byte === OPEN_OBJECT ? 1 : 0;
        inText = byte === QUOTE;
      }
    }
    if (state === 'inside') row.add(chunk.subarray(start));
  }
  if (state === 'inside') {
    broken(row.line, 'a row that the file ends inside', 'The file was cut off, or a quote or bracket is not closed.');
  }
  if (state !== 'after')
    broken(line, 'the end of the file before the closing ]', 'The file was cut off: get it again.');
}
var Gather = class {
  constructor(line, limit) {
    this.line = line;
    this.limit = limit;
  }
  line;
  limit;
  blank = true;
  parts = [];
  length = 0;
  add(part) {
    if (part.length === 0) return;
    if (this.blank) this.blank = part.every(isSpace);
    this.length += part.length;
    if (this.length > this.limit) this.parts = [];
    else this.parts.push(part);
  }
  take() {
    const { line, length } = this;
    return { line, length, bytes: length > this.limit ? null : join5(this.parts, length) };
  }
};
function join5(parts, length) {
  if (parts.length === 1) return parts[0];
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
async function readHead(source) {
  const parts = [];
  let length = 0;
  let blank = true;
  while (length < 4 || blank) {
    const { value, done } = await source.next();
    if (done) break;
    parts.push(value);
    length += value.length;
    blank &&= value.every(isSpace);
  }
  return join5(parts, length);
}
async function* iterate(chunks) {
  yield* chunks;
}
async function* prepend(head, rest) {
  yield head;
  yield* rest;
}
var OTHER_KINDS = [
  { kind: 'a gzip file', bytes: [31, 139], mend: 'Unpack it with gunzip.' },
  { kind: 'a zstd file', bytes: [40, 181, 47, 253], mend: 'Unpack it with zstd -d.' },
  { kind: 'a zip file', bytes: [80, 75, 3, 4], mend: 'Unpack it with unzip.' },
  { kind: 'a Parquet file', bytes: [80, 65, 82, 49], mend: 'Convert it to JSONL.' },
  { kind: 'UTF-16 text', bytes: [255, 254], mend: 'Save it as UTF-8.' },
  { kind: 'UTF-16 text', bytes: [254, 255], mend: 'Save it as UTF-8.' },
];
function refuseOtherKinds(head, file) {
  const other = OTHER_KINDS.find(({ bytes }) => bytes.every((byte, i) => head[i] === byte));
  if (other === void 0) return;
  throw new RowError({ file, line: 1 }, { found: other.kind, wanted: 'JSONL or JSON as UTF-8 text', mend: other.mend });
}

// packages/data/src/records.ts
function parseRow(value, at) {
  if (!isFields(value)) {
    throw new RowError(at, {
      found: describe(value),
      wanted: 'an object with "prompt", "chosen" and "rejected"',
      mend: 'Write each row as one JSON object.',
    });
  }
  const prompt = promptTurns(value, at);
  const chosen = side(value, 'chosen', prompt, at);
  const rejected = side(value, 'rejected', prompt, at);
  sameContext(chosen.context, rejected.context, at);
  const weight = optionalNumber(value, 'weight', at);
  if (weight !== void 0 && weight < 0) {
    fail(at, {
      field: 'weight',
      found: String(weight),
      wanted: 'a number of at least 0',
      mend: 'To turn a preference round, swap chosen and rejected instead.',
    });
  }
  const scoreChosen = optionalNumber(value, 'score_chosen', at);
  const scoreRejected = optionalNumber(value, 'score_rejected', at);
  return {
    id: optionalName(value, 'id', at) ?? optionalName(value, 'prompt_id', at) ?? `${at.file}:${at.line}`,
    context: chosen.context,
    chosen: chosen.answer,
    rejected: rejected.answer,
    ...(weight === void 0 ? {} : { weight }),
    ...(scoreChosen === void 0 || scoreRejected === void 0
      ? {}
      : { scores: { chosen: scoreChosen, rejected: scoreRejected } }),
    at,
  };
}
function parseRowText(text, at) {
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new RowError(
      at,
      {
        found: `text that is not JSON (${error instanceof Error ? error.message : String(error)})`,
        wanted: 'one JSON object',
        mend: /\b(NaN|Infinity)\b/.test(text)
          ? 'JSON has no NaN or Infinity: write null, or leave the field out.'
          : 'Write each row as one complete JSON object: a whole line of JSONL, or one element of a JSON array.',
      },
      { cause: error },
    );
  }
  return parseRow(value, at);
}
function promptTurns(row, at) {
  const value = field(row, 'prompt');
  if (value === void 0) return void 0;
  if (typeof value === 'string') return [{ role: 'user', content: wellFormed(value, 'prompt', at) }];
  const turns = messages(value, 'prompt', at);
  if (turns.at(-1)?.role === 'assistant') {
    fail(at, {
      field: `prompt[${turns.length - 1}].role`,
      found: '"assistant"',
      wanted: 'a turn that the answers answer',
      mend: 'End the prompt with the user turn; the assistant turn after it is the answer.',
    });
  }
  return turns;
}
function side(row, name, prompt, at) {
  const value = field(row, name);
  if (value === void 0) {
    fail(at, {
      field: name,
      found: 'nothing',
      wanted: 'an answer: text, or a list of {role, content}',
      mend: 'Give each row "prompt", "chosen" and "rejected".',
    });
  }
  if (typeof value === 'string') {
    if (prompt === void 0) {
      fail(at, {
        field: 'prompt',
        found: 'nothing',
        wanted: `the text that "${name}" answers`,
        mend: 'Add "prompt", or give the answers as message lists with the turns before them.',
      });
    }
    return { context: prompt, answer: answerText(value, name, at) };
  }
  const turns = messages(value, name, at);
  const last = turns.length - 1;
  const answer = turns[last];
  if (answer.role !== 'assistant') {
    fail(at, {
      field: `${name}[${last}].role`,
      found: JSON.stringify(answer.role),
      wanted: '"assistant" as the last turn: the answer',
      mend: 'End the list with the assistant turn that is preferred or not.',
    });
  }
  const context = contextBefore(turns.slice(0, last), name, row, prompt, at);
  if (context.at(-1)?.role === 'assistant') {
    fail(at, {
      field: `${name}[${last}].role`,
      found: 'two assistant turns in a row',
      wanted: 'an answer to another role',
      mend: 'Join the two turns into one, or put the turn between them back.',
    });
  }
  return { context, answer: answerText(answer.content, `${name}[${last}].content`, at) };
}
function contextBefore(before, name, row, prompt, at) {
  if (before.length === 0) {
    return (
      prompt ??
      fail(at, {
        field: name,
        found: 'a lone assistant turn and no "prompt"',
        wanted: 'the turns that it answers',
        mend: 'Add "prompt", or put the turns before the answer in front of it.',
      })
    );
  }
  if (prompt === void 0 || typeof field(row, 'prompt') === 'string') return before;
  if (firstDifference(before.slice(0, prompt.length), prompt) === void 0) return before;
  if (before[0]?.role === 'assistant') return [...prompt, ...before];
  return fail(at, {
    field: name,
    found: 'turns that are not those of "prompt"',
    wanted: 'the prompt\u2019s turns in front, or the turns that follow it, an assistant\u2019s first',
    mend: 'Make "prompt" agree with the conversation, or leave "prompt" out.',
  });
}
function sameContext(chosen, rejected, at) {
  const turn = firstDifference(chosen, rejected);
  if (turn === void 0) return;
  fail(at, {
    field: 'rejected',
    found: `turn ${turn + 1} before the answer unlike that of "chosen"`,
    wanted: 'the same turns before both answers',
    mend: 'A pair compares two answers to one conversation: make the turns before the last equal.',
  });
}
function firstDifference(a, b) {
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    if (a[i]?.role !== b[i]?.role || a[i]?.content !== b[i]?.content) return i;
  }
  return void 0;
}
function messages(value, name, at) {
  if (!Array.isArray(value)) {
    fail(at, {
      field: name,
      found: describe(value),
      wanted: 'text or a list of {role, content}',
      mend: 'Write the text itself, or its turns as a list of messages.',
    });
  }
  if (value.length === 0) {
    fail(at, {
      field: name,
      found: 'an empty list',
      wanted: 'at least one {role, content}',
      mend: 'Fill it, or drop the row.',
    });
  }
  return Array.from(value, (turn, i) => {
    if (!isFields(turn)) {
      fail(at, {
        field: `${name}[${i}]`,
        found: describe(turn),
        wanted: '{role, content}',
        mend: 'Write each turn as an object with its role and its text.',
      });
    }
    return { role: turnText(turn, 'role', name, i, at), content: turnText(turn, 'content', name, i, at) };
  });
}
function turnText(turn, key, name, i, at) {
  const value = field(turn, key);
  const path = `${name}[${i}].${key}`;
  if (typeof value !== 'string') {
    fail(at, {
      field: path,
      found: describe(value),
      wanted: 'text',
      mend: Array.isArray(value) ? 'Join the parts into one string.' : 'Write it as a string.',
    });
  }
  return wellFormed(value, path, at);
}
function answerText(value, path, at) {
  if (strip(value) === '') {
    fail(at, {
      field: path,
      found: value === '' ? 'an empty answer' : 'an answer of whitespace alone',
      wanted: 'text to score',
      mend: 'Fill it in, or drop the row (bad rows can be skipped and counted).',
    });
  }
  return wellFormed(value, path, at);
}
function wellFormed(text, path, at) {
  const found = /\p{Surrogate}/u.exec(text);
  if (found !== null) {
    const code = found[0].charCodeAt(0).toString(16);
    fail(at, {
      field: path,
      found: `a lone surrogate \\u${code} at character ${found.index}`,
      wanted: 'text that UTF-8 can hold',
      mend: 'Half of a two-part character is left, mostly by cutting text in the middle of an emoji: mend or remove it.',
    });
  }
  return text;
}
function optionalNumber(row, name, at) {
  const value = field(row, name);
  if (value === void 0) return void 0;
  if (typeof value !== 'number' || !Number.isFinite(value)) {
    fail(at, {
      field: name,
      found: describe(value),
      wanted: 'a finite number',
      mend: 'Write it as a number without quotes, or leave it out.',
    });
  }
  return value;
}
function optionalName(row, name, at) {
  const value = field(row, name);
  if (value === void 0 || value === '') return void 0;
  if (typeof value === 'string') return wellFormed(value, name, at);
  if (typeof value === 'number') return String(value);
  return fail(at, {
    field: name,
    found: describe(value),
    wanted: 'a string or a number',
    mend: 'Write it so, or leave it out.',
  });
}
function field(row, name) {
  return Object.hasOwn(row, name) ? (row[name] ?? void 0) : void 0;
}
function isFields(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
function describe(value) {
  if (value === null) return 'null';
  if (value === void 0) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  switch (typeof value) {
    case 'string':
      return `the text ${JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}\u2026` : value)}`;
    case 'number':
      return `the number ${value}`;
    case 'boolean':
      return String(value);
    case 'object':
      return 'an object';
    default:
      return `a ${typeof value}`;
  }
}
function fail(at, fault) {
  throw new RowError(at, fault);
}

// packages/data/src/read-rows.ts
async function* readRowsFrom(chunks, file, options = {}) {
  const { format = 'auto', maxRowBytes = 64 * 2 ** 20 } = options;
  for await (const raw of splitRows(chunks, { file, format, maxRowBytes })) {
    const row = keepGood(() => parseRowText(decode(raw, file, maxRowBytes), { file, line: raw.line }), options);
    if (row !== void 0) yield row;
  }
}
function keepGood(make, { onBadRow = 'error', onSkip }) {
  try {
    return make();
  } catch (error) {
    if (onBadRow !== 'skip' || !(error instanceof RowError)) throw error;
    onSkip?.(error);
    return void 0;
  }
}
var utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
function decode({ bytes, length, line }, file, maxRowBytes) {
  if (bytes === null) {
    throw new RowError(
      { file, line },
      {
        found: `a row of ${length} bytes`,
        wanted: `at most ${maxRowBytes}`,
        mend: 'If the row is right, raise maxRowBytes; more likely a line end or a closing quote is missing.',
      },
    );
  }
  try {
    return utf8.decode(bytes);
  } catch (error) {
    throw new RowError(
      { file, line },
      {
        found: 'bytes that are not UTF-8',
        wanted: 'UTF-8 text',
        mend: 'Save the file as UTF-8 (iconv -t UTF-8), or remove the broken characters.',
      },
      { cause: error },
    );
  }
}

// packages/data/src/encode.ts
var TURN_START = '<start_of_turn>';
var TURN_END = '<end_of_turn>';
function formatPair(row, options) {
  const { tokenizer, completion = 'paper', eosTokenId = tokenizer.eosTokenId } = options;
  const answer = answerFormat(tokenizer, completion, eosTokenId);
  let prompt;
  try {
    prompt = render(row.context, options, completion !== 'paper');
  } catch (error) {
    if (!(error instanceof ChatTemplateError) || error.stage !== 'render') throw error;
    throw new RowError(
      row.at,
      {
        field: 'prompt',
        found: `turns that the chat template refuses (${error.message})`,
        wanted: 'turns that it takes',
        mend: `The roles here are ${row.context.map(({ role }) => role).join(', ')}: change them, or drop the row.`,
      },
      { cause: error },
    );
  }
  return { prompt: tokenizer.encode(prompt), chosen: answer(row.chosen), rejected: answer(row.rejected) };
}
function truncatePair(pair, options = {}) {
  const { truncation, maxLength, maxPromptLength } = checkLimits(options);
  let { prompt, chosen, rejected } = pair;
  if (truncation === 'keep_start') {
    const room = Math.max(0, maxLength - prompt.length);
    return { prompt: prompt.slice(0, maxLength), chosen: chosen.slice(0, room), rejected: rejected.slice(0, room) };
  }
  const longest = Math.max(chosen.length, rejected.length);
  if (prompt.length + longest > maxLength) prompt = prompt.slice(-maxPromptLength);
  if (prompt.length + longest > maxLength) {
    chosen = chosen.slice(0, maxLength - maxPromptLength);
    rejected = rejected.slice(0, maxLength - maxPromptLength);
  }
  return { prompt, chosen, rejected };
}
function encodePair(row, options) {
  checkLimits(options);
  const pair = truncatePair(formatPair(row, options), options);
  for (const part of ['prompt', 'chosen', 'rejected']) {
    if (pair[part].length > 0) continue;
    throw new RowError(row.at, {
      field: part,
      found: part === 'prompt' ? 'no tokens' : `no room after a prompt of ${pair.prompt.length} tokens or more`,
      wanted: 'at least one token of the prompt and of each answer',
      mend:
        part === 'prompt'
          ? 'Fill the prompt in: the chat template renders it to nothing.'
          : 'Raise max_length, or use truncation "paper", which cuts the prompt first.',
    });
  }
  return {
    id: row.id,
    prompt: Int32Array.from(pair.prompt),
    chosen: Int32Array.from(pair.chosen),
    rejected: Int32Array.from(pair.rejected),
    ...(row.weight === void 0 ? {} : { weight: row.weight }),
  };
}
function render(messages2, { tokenizer, chatTemplate }, addGenerationPrompt) {
  if (chatTemplate === void 0) {
    throw new Error(
      'found no chat template, wanted the model\u2019s. Put chat_template.jinja into the model\u2019s folder, or "chat_template" into its tokenizer_config.json.',
    );
  }
  const { bosToken, eosToken } = tokenizer;
  return renderChat(chatTemplate, messages2, { addGenerationPrompt, bosToken, eosToken });
}
function answerFormat(tokenizer, completion, eosTokenId) {
  for (const token of [TURN_START, TURN_END]) {
    if (tokenizer.tokenId(token) !== void 0) continue;
    throw new Error(
      `the tokenizer has no token ${token}, and the completion formats are those of Gemma's turns. Use a Gemma tokenizer.`,
    );
  }
  switch (completion) {
    case 'turn':
      return (text) => tokenizer.encode(`${strip(text)}${TURN_END}`);
    case 'trl':
      return (text) =>
        tokenizer.encode(`${strip(text)}${TURN_END}
`);
    case 'paper':
      if (eosTokenId === void 0) {
        throw new Error(
          'found no end-of-text token, wanted one to end an answer in "paper" format. Put "eos_token" into tokenizer_config.json, or use completion "turn" or "trl".',
        );
      }
      return (text) => [
        ...tokenizer.encode(`${TURN_START}model
${strip(text)}${TURN_END}
`),
        eosTokenId,
      ];
    default:
      throw new Error(`found completion ${JSON.stringify(completion)}, wanted "paper", "trl" or "turn".`);
  }
}
function checkLimits({ truncation = 'paper', maxLength = 2048, maxPromptLength = 1800 }) {
  if (truncation !== 'paper' && truncation !== 'keep_start') {
    throw new RangeError(`found truncation ${JSON.stringify(truncation)}, wanted "paper" or "keep_start".`);
  }
  if (!Number.isSafeInteger(maxLength) || maxLength < 2) {
    throw new RangeError(
      `found max_length ${maxLength}, wanted an integer of at least 2: one token of the prompt and one of the answer.`,
    );
  }
  if (truncation === 'paper') {
    if (!Number.isSafeInteger(maxPromptLength) || maxPromptLength < 1 || maxPromptLength >= maxLength) {
      throw new RangeError(
        `found max_prompt_length ${maxPromptLength} with max_length ${maxLength}, wanted an integer from 1 to ${maxLength - 1}: truncation "paper" leaves answers max_length - max_prompt_length tokens.`,
      );
    }
  }
  return { truncation, maxLength, maxPromptLength };
}

// packages/data/src/tokenizer.ts
var import_tokenizers = require('@huggingface/tokenizers');
function loadTokenizer(files) {
  const json = object(files.tokenizerJson, 'tokenizer.json');
  const config = object(files.tokenizerConfig, 'tokenizer_config.json');
  const hub = build(json, config);
  mendByteFallback(hub.decoder);
  const special = specialTokenIds(json, config, hub);
  let vocabSize = 0;
  for (const id of hub.get_vocab().values()) vocabSize = Math.max(vocabSize, id + 1);
  const idOf = (token) => (token === void 0 ? void 0 : hub.token_to_id(token));
  const [bosToken, eosToken, padToken] = ['bos_token', 'eos_token', 'pad_token'].map((key) => tokenText(config[key]));
  return {
    encode(text) {
      const lone = /\p{Surrogate}/u.exec(text);
      if (lone !== null) {
        throw new Error(
          `cannot encode text with a lone surrogate at character ${lone.index}, wanted text that UTF-8 can hold. Half of a two-part character is left, mostly by cutting text in the middle of an emoji: mend or remove it.`,
        );
      }
      return hub.encode(text, { add_special_tokens: false }).ids;
    },
    decode(ids, { skipSpecialTokens = false } = {}) {
      const kept = Array.from(ids).filter(
        (id) => hub.id_to_token(id) !== void 0 && !(skipSpecialTokens && special.has(id)),
      );
      return kept.length === 0 ? '' : hub.decode(kept);
    },
    tokenId: idOf,
    vocabSize,
    bosToken,
    bosTokenId: idOf(bosToken),
    eosToken,
    eosTokenId: idOf(eosToken),
    padToken,
    padTokenId: idOf(padToken),
  };
}
function object(value, file) {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  const found = value === null ? 'null' : Array.isArray(value) ? 'a list' : typeof value;
  throw new Error(`${file}: found ${found}, wanted a JSON object. Get the file again.`);
}
function build(json, config) {
  try {
    return new import_tokenizers.Tokenizer(json, {
      ...config,
      clean_up_tokenization_spaces: config.clean_up_tokenization_spaces ?? false,
    });
  } catch (error) {
    const why2 = error instanceof Error ? error.message : String(error);
    throw new Error(
      `tokenizer.json: no tokenizer can be built from it (${why2}). Get the file again, or check its kind.`,
      {
        cause: error,
      },
    );
  }
}
function specialTokenIds(json, config, hub) {
  const added = Array.isArray(json.added_tokens) ? json.added_tokens : [];
  const ids = /* @__PURE__ */ new Set();
  for (const token of added) {
    const { id, special } = object(token, 'tokenizer.json: added_tokens');
    if (special === true && typeof id === 'number') ids.add(id);
  }
  const lists = [config.additional_special_tokens, config.extra_special_tokens].flatMap((list2) =>
    typeof list2 === 'object' && list2 !== null ? Object.values(list2) : [],
  );
  const named = ['bos', 'eos', 'unk', 'pad', 'sep', 'cls', 'mask'].map((name) => config[`${name}_token`]);
  for (const token of [...lists, ...named]) {
    const text = tokenText(token);
    const id = text === void 0 ? void 0 : hub.token_to_id(text);
    if (id !== void 0) ids.add(id);
  }
  return ids;
}
function tokenText(token) {
  if (typeof token === 'string') return token;
  const content = typeof token === 'object' && token !== null ? token.content : void 0;
  return typeof content === 'string' ? content : void 0;
}
function mendByteFallback(decoder) {
  if (decoder instanceof import_tokenizers.SequenceDecoder) decoder.decoders.forEach(mendByteFallback);
  if (decoder instanceof import_tokenizers.ByteFallbackDecoder) decoder.decode_chain = joinByteTokens;
}
var utf82 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
function joinByteTokens(tokens) {
  const joined = [];
  let bytes = [];
  const flush = () => {
    if (bytes.length === 0) return;
    try {
      joined.push(utf82.decode(Uint8Array.from(bytes)));
    } catch {
      joined.push('\uFFFD'.repeat(bytes.length));
    }
    bytes = [];
  };
  for (const token of tokens) {
    const hex = /^<0x([0-9A-Fa-f]{2})>$/.exec(token)?.[1];
    if (hex !== void 0) {
      bytes.push(Number.parseInt(hex, 16));
    } else {
      flush();
      joined.push(token);
    }
  }
  flush();
  return joined;
}

// packages/data/src/node/rows.ts
var import_node_fs2 = require('node:fs');
var import_node_path4 = require('node:path');

// packages/data/src/node/file-error.ts
function fileError(path, error, wanted, mend) {
  const code = error instanceof Error ? error.code : void 0;
  const found =
    code === 'ENOENT' || code === 'ENOTDIR'
      ? 'no such file'
      : code === 'EISDIR'
        ? 'a folder'
        : code === 'EACCES' || code === 'EPERM'
          ? 'a file that may not be read'
          : error instanceof Error
            ? error.message
            : String(error);
  return new Error(`${path}: found ${found}, wanted ${wanted}. ${mend}`, { cause: error });
}

// packages/data/src/node/rows.ts
async function* readRows(path, options = {}) {
  yield* readRowsFrom(bytesOf(path), path, { ...options, format: options.format ?? formatByName(path) });
}
function formatByName(path) {
  return ['.jsonl', '.ndjson'].includes((0, import_node_path4.extname)(path).toLowerCase()) ? 'jsonl' : 'auto';
}
async function* bytesOf(path) {
  try {
    for await (const chunk of (0, import_node_fs2.createReadStream)(path, { highWaterMark: 2 ** 20 })) yield chunk;
  } catch (error) {
    throw fileError(path, error, 'a JSONL or JSON file of preference pairs', 'Check the path.');
  }
}

// packages/data/src/node/tokenizer-folder.ts
var import_promises3 = require('node:fs/promises');
var import_node_path5 = require('node:path');
async function loadTokenizerFolder(dir) {
  const [tokenizerJson, tokenizerConfig, ownTemplate] = await Promise.all([
    readJson((0, import_node_path5.join)(dir, 'tokenizer.json')),
    readJson((0, import_node_path5.join)(dir, 'tokenizer_config.json')),
    readTextIfThere((0, import_node_path5.join)(dir, 'chat_template.jinja')),
  ]);
  let tokenizer;
  try {
    tokenizer = loadTokenizer({ tokenizerJson, tokenizerConfig });
  } catch (error) {
    throw new Error(`${dir}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
  return {
    tokenizer,
    chatTemplate: ownTemplate ?? templateIn(tokenizerConfig, (0, import_node_path5.join)(dir, 'tokenizer_config.json')),
  };
}
var MEND = 'Point to a model\u2019s folder with its tokenizer, as Hugging Face lays it out.';
async function readJson(path) {
  let text;
  try {
    text = await (0, import_promises3.readFile)(path, 'utf8');
  } catch (error) {
    throw fileError(path, error, 'a tokenizer file', MEND);
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw fileError(path, error, 'JSON', 'Get the file again: it may be cut off, or a Git LFS pointer.');
  }
}
async function readTextIfThere(path) {
  try {
    return await (0, import_promises3.readFile)(path, 'utf8');
  } catch (error) {
    if (error.code === 'ENOENT') return void 0;
    throw fileError(path, error, 'a chat template', MEND);
  }
}
function templateIn(config, path) {
  const template = config.chat_template ?? void 0;
  if (template === void 0 || typeof template === 'string') return template;
  const named = Array.isArray(template) ? template : [];
  const chosen = named.find((entry) => entry?.name === 'default')?.template;
  if (typeof chosen === 'string') return chosen;
  const names = named.map((entry) => String(entry?.name)).join(', ');
  throw new Error(
    `${path}: "chat_template": found ${names === '' ? typeof template : `templates named ${names}`}, wanted text, or a list with one named "default". Put the template to use into chat_template.jinja.`,
  );
}

// ../../tmp/bx/step.ts
async function main() {
  const dir = '/tmp/bench-model';
  const folder = await readModelFolder(dir);
  const t0 = performance.now();
  const model = await loadWeights(folder.config, folder.checkpoint);
  console.log('load', performance.now() - t0);
  const { tokenizer, chatTemplate } = await loadTokenizerFolder(dir);
  const pairs = [];
  for await (const row of readRows(process.argv[2] ?? '/work/shared/bench/pairs.jsonl'))
    pairs.push(
      encodePair(row, {
        tokenizer,
        chatTemplate,
        completion: 'trl',
        truncation: 'keep_start',
        maxLength: 2048,
        maxPromptLength: 1800,
      }),
    );
  const policy = gemmaPolicy(model);
  for (let pass = 0; pass < 2; pass++) {
    let total = 0;
    for (const p of pairs) {
      const t = performance.now();
      const f = policy.forward([p], { train: true });
      const t1 = performance.now();
      f.backward(
        f.pairs.map((x) => ({
          chosen: tf12.fill([x.chosen.logps.size], -1),
          rejected: tf12.fill([x.rejected.logps.size], 1),
        })),
      );
      f.dispose();
      for (const q of policy.parameters) q.zeroGradient();
      const t2 = performance.now();
      total += t2 - t;
      console.log(
        pass,
        p.prompt.length,
        p.chosen.length,
        p.rejected.length,
        ((t1 - t) / 1e3).toFixed(2),
        ((t2 - t1) / 1e3).toFixed(2),
      );
    }
    console.log(
      'mean',
      (total / pairs.length / 1e3).toFixed(2),
      'rss',
      (process.memoryUsage().rss / 1e9).toFixed(2),
      tf12.memory().numTensors,
    );
  }
}
main();
