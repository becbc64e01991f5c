/**
 * Conversion between 16-bit floating point and float32, by bit patterns. Values are in the host's byte order; readers of
 * little-endian files check `littleEndianHost`.
 */

/** The types in which weights are written: safetensors' names by PyTorch's names. */
export const WEIGHT_DTYPES = { float32: 'F32', bfloat16: 'BF16', float16: 'F16' } as const;

/** PyTorch's name of a type in which weights are written. */
export type WeightDtypeName = keyof typeof WEIGHT_DTYPES;

/** safetensors' name of a type in which weights are written. */
export type WeightDtype = (typeof WEIGHT_DTYPES)[WeightDtypeName];

/** Whether this machine is little-endian, as safetensors files are, so that their bytes can be viewed as numbers. */
export const littleEndianHost = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/**
 * Widens bfloat16 to float32. Exact, NaN payloads included.
 *
 * @param bits [n] bfloat16 bit patterns
 * @param out [n] receives the values; default a new array
 */
export function bf16ToF32(bits: Uint16Array, out = new Float32Array(bits.length)): Float32Array {
  const wide = bitsOf(out, bits.length);
  for (let i = 0; i < bits.length; i++) wide[i] = bits[i]! << 16;
  return out;
}

/**
 * Rounds float32 to bfloat16: to nearest, ties to even, as PyTorch's `to(torch.bfloat16)` does. Infinities are kept, finite
 * values beyond bfloat16's largest (3.39e38) become infinite, NaN stays NaN with its sign.
 *
 * @param values [n]
 * @param out [n] receives the bit patterns; default a new array
 */
export function f32ToBf16(values: Float32Array, out = new Uint16Array(values.length)): Uint16Array {
  if (out.length !== values.length) throw lengthMismatch(values.length, out.length);
  const wide = bitsOf(values, values.length);
  for (let i = 0; i < values.length; i++) {
    const b = wide[i]!;
    // Truncating a NaN could leave the pattern of an infinity: set the quiet bit instead of rounding.
    const nan = (b & 0x7fffffff) > 0x7f800000;
    out[i] = nan ? (b >>> 16) | 0x40 : (b + 0x7fff + ((b >>> 16) & 1)) >>> 16;
  }
  return out;
}

/**
 * Widens float16 (IEEE binary16) to float32. Exact, subnormals and NaN payloads included.
 *
 * @param bits [n] float16 bit patterns
 * @param out [n] receives the values; default a new array
 */
export function f16ToF32(bits: Uint16Array, out = new Float32Array(bits.length)): Float32Array {
  const wide = bitsOf(out, bits.length);
  f16Table ??= makeF16Table();
  for (let i = 0; i < bits.length; i++) wide[i] = f16Table[bits[i]!]!;
  return out;
}

/**
 * Rounds float32 to float16: to nearest, ties to even, as PyTorch's `to(torch.float16)` does. Infinities are kept, finite values of
 * 65,520 and more become infinite, NaN stays NaN with its sign.
 *
 * @param values [n]
 * @param out [n] receives the bit patterns; default a new array
 */
export function f32ToF16(values: Float32Array, out = new Uint16Array(values.length)): Uint16Array {
  if (out.length !== values.length) throw lengthMismatch(values.length, out.length);
  const wide = bitsOf(values, values.length);
  for (let i = 0; i < values.length; i++) {
    const sign = (wide[i]! >>> 16) & 0x8000;
    out[i] = sign | f16Magnitude(wide[i]! & 0x7fffffff);
  }
  return out;
}

/** The float16 pattern of the float32 pattern `b`, both without sign. */
function f16Magnitude(b: number): number {
  if (b > 0x7f800000) return 0x7e00 | ((b >>> 13) & 0x1ff); // NaN
  if (b >= 0x477ff000) return 0x7c00; // half of the last step beyond the largest value, 65504
  if (b >= 0x38800000) return (b - 0x38000000 + 0xfff + ((b >>> 13) & 1)) >>> 13; // 2^-14, the smallest normal value
  if (b < 0x33000000) return 0; // below half of the smallest value, 2^-24
  // subnormal: 24 bits of fraction in units of 2^-24, which leaves `shift` bits to round
  const fraction = (b & 0x7fffff) | 0x800000;
  const shift = 126 - (b >>> 23);
  return (fraction + (1 << (shift - 1)) - 1 + ((fraction >>> shift) & 1)) >>> shift;
}

let f16Table: Int32Array | undefined;

/** The float32 bit pattern of each of the 65536 float16 patterns. */
function makeF16Table(): Int32Array {
  const table = new Int32Array(0x10000);
  const value = new Float32Array(1);
  const pattern = new Int32Array(value.buffer);
  for (let f16 = 0; f16 < 0x8000; f16++) {
    const exponent = f16 >>> 10;
    const fraction = f16 & 0x3ff;
    if (exponent === 0) value[0] = fraction * 2 ** -24;
    else if (exponent < 0x1f) pattern[0] = ((exponent - 15 + 127) << 23) | (fraction << 13);
    else pattern[0] = 0x7f800000 | (fraction << 13);
    table[f16] = pattern[0]!;
    table[f16 | 0x8000] = pattern[0]! | 0x80000000;
  }
  return table;
}

function bitsOf(values: Float32Array, length: number): Int32Array {
  if (values.length !== length) throw lengthMismatch(length, values.length);
  return new Int32Array(values.buffer, values.byteOffset, length);
}

const lengthMismatch = (expected: number, found: number) =>
  new RangeError(`dtype: out: expected ${expected} values, one per input value, found ${found}.`);
