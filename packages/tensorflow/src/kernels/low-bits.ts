// A float32 number as two halves of 16 bits: the nearest bfloat16 (ties away from zero), and the lower half of its bits as a signed
// number. So the bits are (bfloat16 << 16) + low bits, exactly. With ties to even, two numbers would have the same halves. NaN stays
// NaN, but loses its lower half, because its upper half alone could be an infinity or 0. As native/elementwise/updated-value.h.

/** The bits of bfloat16 values, and the low bits, of float32 values: `[n]` each. */
export function splitHalves(values: Float32Array): { readonly high: Int16Array; readonly low: Int16Array } {
  const bits = new Int32Array(values.buffer, values.byteOffset, values.length);
  const [high, low] = [new Int16Array(bits.length), new Int16Array(bits.length)];
  for (let i = 0; i < bits.length; i++) {
    const b = bits[i]!;
    if ((b & 0x7fffffff) > 0x7f800000) high[i] = (b >> 16) | 0x40;
    else {
      high[i] = (b + 0x8000) >> 16;
      low[i] = b;
    }
  }
  return { high, low };
}

/** Float32 values `[n]`, given their bfloat16 values widened, which it changes, and their low bits. */
export function joinHalves(high: Float32Array, low: Int16Array): Float32Array {
  const bits = new Int32Array(high.buffer, high.byteOffset, high.length);
  for (let i = 0; i < bits.length; i++) bits[i]! += low[i]!;
  return high;
}
