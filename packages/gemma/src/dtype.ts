/**
 * 16-bit floating point to and from float32, by bit patterns: typed arrays in, typed arrays out. Values are numbers in
 * the host's byte order; turning a file's little-endian bytes into them is the reader's work (see `littleEndianHost`).
 */

/** The types in which weights are written: safetensors' names for float32 and bfloat16. */
export type WeightDtype = 'F32' | 'BF16';

/** Whether this machine keeps numbers as safetensors files do, lowest byte first, so that bytes may be viewed as numbers. */
export const littleEndianHost = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/**
 * Widens bfloat16 bit patterns to float32; every pattern has exactly one, NaN payloads included.
 *
 * @param bits [n] bfloat16 bit patterns
 * @param out [n] where the values go; a new array where none is given
 */
export function bf16ToF32(bits: Uint16Array, out = new Float32Array(bits.length)): Float32Array {
  const wide = bitsOf(out, bits.length);
  for (let i = 0; i < bits.length; i++) wide[i] = bits[i]! << 16;
  return out;
}

/**
 * Rounds float32 to bfloat16 bit patterns: to nearest, ties to even, as PyTorch's `to(torch.bfloat16)` does. Infinities
 * keep, finite values beyond bfloat16's largest (3.39e38) become infinite, NaN stays NaN with its sign.
 *
 * @param values [n]
 * @param out [n] where the patterns go; a new array where none is given
 */
export function f32ToBf16(values: Float32Array, out = new Uint16Array(values.length)): Uint16Array {
  if (out.length !== values.length) throw lengthMismatch(values.length, out.length);
  const wide = bitsOf(values, values.length);
  for (let i = 0; i < values.length; i++) {
    const b = wide[i]!;
    // Cutting a NaN's low half could leave an infinity's pattern: set the quiet bit instead of rounding.
    const notANumber = (b & 0x7fffffff) > 0x7f800000;
    out[i] = notANumber ? (b >>> 16) | 0x40 : (b + 0x7fff + ((b >>> 16) & 1)) >>> 16;
  }
  return out;
}

/**
 * Widens float16 (IEEE binary16) bit patterns to float32; exact, subnormals and NaN payloads included.
 *
 * @param bits [n] float16 bit patterns
 * @param out [n] where the values go; a new array where none is given
 */
export function f16ToF32(bits: Uint16Array, out = new Float32Array(bits.length)): Float32Array {
  const wide = bitsOf(out, bits.length);
  widened ??= widenedHalves();
  for (let i = 0; i < bits.length; i++) wide[i] = widened[bits[i]!]!;
  return out;
}

let widened: Int32Array | undefined;

/** The float32 bit pattern of each of the 65536 float16 patterns. */
function widenedHalves(): Int32Array {
  const table = new Int32Array(0x10000);
  const value = new Float32Array(1);
  const pattern = new Int32Array(value.buffer);
  for (let half = 0; half < 0x8000; half++) {
    const exponent = half >>> 10;
    const fraction = half & 0x3ff;
    if (exponent === 0) value[0] = fraction * 2 ** -24;
    else if (exponent < 0x1f) pattern[0] = ((exponent - 15 + 127) << 23) | (fraction << 13);
    else pattern[0] = 0x7f800000 | (fraction << 13);
    table[half] = pattern[0]!;
    table[half | 0x8000] = pattern[0]! | 0x80000000;
  }
  return table;
}

function bitsOf(values: Float32Array, length: number): Int32Array {
  if (values.length !== length) throw lengthMismatch(length, values.length);
  return new Int32Array(values.buffer, values.byteOffset, length);
}

const lengthMismatch = (wanted: number, found: number) =>
  new RangeError(`the output array holds ${found} values, wanted ${wanted}: one for each input value`);
