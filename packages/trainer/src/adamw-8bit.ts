import * as tf from '@tensorflow/tfjs-core';
import { type AdamWOptions, adamWOptions, adamWRule } from './adamw';
import type { Parameter } from './policy';
import { float32, optimizerOf, type RuleOptimizer, type StateTensor, type UpdateRule } from './update-rule';

export interface AdamW8bitOptions extends AdamWOptions {
  /**
   * Parameters whose second moment stays float32. Default none. An embedding should: most of its gradient's rows are 0, so the largest
   * value of a block says little about the others.
   */
  readonly float32SecondMoment?: (parameter: Pick<Parameter, 'name' | 'shape'>) => boolean;
}

/** Values that share the scale of their codes. */
const BLOCK = 256;

/** The moments of parameters with fewer values are float32, as in bitsandbytes. Norms are among them. */
const MIN_VALUES = 4096;

/**
 * AdamW with moments of 8 bits, as in bitsandbytes: a code per value and a float32 scale per block of 256 values, 2.03 bytes per
 * parameter for both moments. A step decodes a moment, updates it as {@link adamW} does, uses it, and encodes it again:
 *
 *     value = map[code] · absmax,  absmax = max |value| of the block,  code = the nearest map[code] to value / absmax
 *
 * with {@link dynamicMap} signed for the first moment and unsigned for the second. `code` is that of bitsandbytes' CPU library, which
 * rounds value / absmax to one of 65,536 steps from −1 to 1 before it looks for the nearest. So a second moment below 1.5e-5 of its
 * block's largest is kept as 1.5e-5 of it. The nearest code would be 0, and the next update of such a weight could be of any size.
 *
 * The tensors of a state are `<parameter>.exp_avg_codes`, uint8 in the parameter's shape, and `.exp_avg_absmax`, float32 and one per
 * block; and `.exp_avg_sq_codes`, `.exp_avg_sq_absmax`. These are bitsandbytes' `state1`, `absmax1`, `state2` and `absmax2`. Parameters
 * with fewer than 4,096 values have the tensors of `adamW`.
 *
 * @throws RangeError for an option out of range.
 */
export function adamW8bit(options: AdamW8bitOptions = {}): RuleOptimizer {
  const { beta1, beta2, epsilon } = adamWOptions(options, 'adamW8bit');
  return optimizerOf(adamW8bitRule(adamWRule(beta1, beta2, epsilon), options), options);
}

const MOMENTS = [
  { name: 'exp_avg', map: 'signed' },
  { name: 'exp_avg_sq', map: 'unsigned' },
] as const;

const adamW8bitRule = (
  adamW: ReturnType<typeof adamWRule>,
  { float32SecondMoment = () => false }: AdamW8bitOptions,
): UpdateRule<ReturnType<typeof adamW.scalars>> => ({
  name: 'AdamW8bit',
  state(parameter): Record<string, StateTensor> {
    const { shape, whole = shape } = parameter;
    const size = tf.util.sizeFromShape([...shape]);
    const codes = (name: string) => ({
      [`${name}_codes`]: { shape, type: 'U8' } as const,
      [`${name}_absmax`]: float32([Math.ceil(size / BLOCK)]),
    });
    if (tf.util.sizeFromShape([...whole]) < MIN_VALUES) return adamW.state(parameter);
    return {
      ...codes('exp_avg'),
      ...(float32SecondMoment(parameter) ? { exp_avg_sq: float32(shape) } : codes('exp_avg_sq')),
    };
  },
  scalars: adamW.scalars,
  /** Through JavaScript, a few million values a second: for tests, and where there are no native operations. */
  update(update, scalars) {
    const { parameter, state } = update;
    const moments: Record<string, tf.Tensor> = { ...state };
    const encoded = MOMENTS.filter(({ name }) => state[`${name}_codes`]);
    for (const { name, map } of encoded) {
      const codes = state[`${name}_codes`]!.dataSync() as Int32Array;
      const values = decode(codes, valuesOf(state[`${name}_absmax`]!), dynamicMap(map));
      moments[name] = tf.tensor(values, [...parameter.shape]);
    }
    adamW.update({ ...update, state: moments }, scalars);
    for (const { name, map } of MOMENTS) {
      const moment = moments[name]!;
      if (!encoded.some((one) => one.name === name)) {
        state[name] = moment;
        continue;
      }
      const { codes, absmax } = encode(valuesOf(moment), map);
      tf.dispose([moment, state[`${name}_codes`]!, state[`${name}_absmax`]!]);
      state[`${name}_codes`] = tf.tensor(codes, [...parameter.shape], 'int32');
      state[`${name}_absmax`] = tf.tensor1d(absmax);
    }
  },
});

const valuesOf = (tensor: tf.Tensor) => tensor.dataSync() as Float32Array;

function decode(codes: Int32Array, absmax: Float32Array, map: Float32Array): Float32Array {
  const values = new Float32Array(codes.length);
  for (let i = 0; i < values.length; i++) values[i] = map[codes[i]!]! * absmax[Math.floor(i / BLOCK)]!;
  return values;
}

function encode(values: Float32Array, map: 'signed' | 'unsigned'): { codes: Int32Array; absmax: Float32Array } {
  const { fround } = Math;
  const table = codeTable(dynamicMap(map));
  const codes = new Int32Array(values.length);
  const absmax = new Float32Array(Math.ceil(values.length / BLOCK));
  for (const block of absmax.keys()) {
    const [start, end] = [block * BLOCK, Math.min((block + 1) * BLOCK, values.length)];
    let largest = 0;
    for (let i = start; i < end; i++) largest = Math.max(largest, Math.abs(values[i]!));
    absmax[block] = largest;
    if (largest === 0) continue;
    const scale = fround(1 / largest);
    for (let i = start; i < end; i++) {
      const x = Math.min(1, Math.max(-1, fround(values[i]! * scale)));
      codes[i] = table[Math.floor(fround(fround(fround(x + 1) * ((STEPS - 1) / 2)) + 0.5))]!;
    }
  }
  return { codes, absmax };
}

/** Steps from −1 to 1 to which a value is rounded before its code is looked up. */
const STEPS = 65_536;

/** The code of each step: that of the nearest number of the map, and of the smaller of two equally near. */
function codeTable(map: Float32Array): Uint8Array {
  const { fround } = Math;
  const table = new Uint8Array(STEPS);
  for (let step = 0, code = 0; step < STEPS; step++) {
    const value = fround(fround((2 * step) / (STEPS - 1)) - 1);
    while (code < 255 && fround(map[code]! + map[code + 1]!) / 2 < value) code++;
    table[step] = code;
  }
  return table;
}

/**
 * bitsandbytes' dynamic map: the numbers from −1 to 1, or from 0 to 1, that the codes 0 to 255 stand for, in ascending order. They are 0,
 * 1, and the means of the intervals that divide 0.1 to 1 evenly, times 1, 0.1, … 1e-6, with half as many intervals at each smaller power.
 * Source: `create_dynamic_map` in bitsandbytes/functional.py, which computes in float32.
 */
export function dynamicMap(kind: 'signed' | 'unsigned'): Float32Array {
  const { fround } = Math;
  const numbers = [0, 1];
  for (let i = 0; i < 7; i++) {
    const intervals = 2 ** i * (kind === 'signed' ? 1 : 2);
    const step = fround(0.9 / intervals);
    // torch.linspace counts from the nearer end
    const boundary = (k: number) =>
      k < Math.floor((intervals + 1) / 2) ? fround(fround(0.1) + k * step) : fround(1 - (intervals - k) * step);
    for (let k = 0; k < intervals; k++) {
      const mean = fround(fround(boundary(k) + boundary(k + 1)) / 2);
      const number = fround(fround(10 ** (i - 6)) * mean);
      numbers.push(number, ...(kind === 'signed' ? [-number] : []));
    }
  }
  return Float32Array.from(numbers).sort();
}
