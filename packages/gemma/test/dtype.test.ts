import { createHash } from 'node:crypto';
import { fc, test as prop } from '@fast-check/vitest';
import { describe, expect, test } from 'vitest';
import { bf16ToF32, f16ToF32, f32ToBf16, f32ToF16 } from '../src/dtype';
import torch from './fixtures/safetensors/conversions.json';

const everyPattern = Uint16Array.from({ length: 0x10000 }, (_, i) => i);
const bits = (values: Float32Array) => new Uint32Array(values.buffer, values.byteOffset, values.length);
const floats = (...patterns: number[]) => new Float32Array(Uint32Array.from(patterns).buffer);

/** The hash that make.py computes: every NaN is first replaced by one pattern. */
const sha256 = (patterns: Uint32Array | Uint16Array) => createHash('sha256').update(patterns).digest('hex');
const oneNaN32 = (patterns: Uint32Array) => patterns.map((b) => ((b & 0x7fffffff) > 0x7f800000 ? 0x7fc00000 : b));
const oneNaN16 = (patterns: Uint16Array) => patterns.map((b) => ((b & 0x7fff) > 0x7f80 ? 0x7fc0 : b));

describe('bfloat16 to float32', () => {
  test("gives PyTorch's value for all 65536 patterns", () => {
    expect(sha256(oneNaN32(bits(bf16ToF32(everyPattern))))).toBe(torch.bf16_to_f32);
  });

  test('reads hand-worked patterns', () => {
    // sign, 8 bits of exponent, 7 of fraction: 0x4049 = 2 · (1 + 0x49/128)
    expect([...bf16ToF32(Uint16Array.of(0x3f80, 0xc000, 0x4049, 0x0001, 0x7f80, 0xff80))]).toEqual([
      1,
      -2,
      3.140625,
      2 ** -133,
      Infinity,
      -Infinity,
    ]);
  });

  test('round-trips all 65536 patterns; signalling NaN becomes quiet', () => {
    const expected = everyPattern.map((b) => ((b & 0x7fff) > 0x7f80 ? b | 0x40 : b));
    expect(f32ToBf16(bf16ToF32(everyPattern))).toEqual(expected);
  });
});

describe('float32 to bfloat16', () => {
  test('rounds as PyTorch does: every upper half, lower halves around the tie', () => {
    const wide = torch.f32_to_bf16.lower_halves.flatMap((low) => [...everyPattern].map((high) => high * 0x10000 + low));
    expect(sha256(oneNaN16(f32ToBf16(new Float32Array(Uint32Array.from(wide).buffer))))).toBe(torch.f32_to_bf16.sha256);
  });

  test('rounds ties to even, and values past the largest to infinity', () => {
    const found = f32ToBf16(floats(0x3f808000, 0x3f818000, 0x3f808001, 0x7f7fffff, 0xff7fffff, 0x00008000, 0x00018000));
    expect([...found]).toEqual([0x3f80, 0x3f82, 0x3f81, 0x7f80, 0xff80, 0x0000, 0x0002]);
  });

  test('keeps NaN and its sign for every payload', () => {
    expect([...f32ToBf16(floats(0x7f800001, 0xff800001, 0x7fffffff, 0xffffffff, 0x7fc00000))]).toEqual([
      0x7fc0, 0xffc0, 0x7fff, 0xffff, 0x7fc0,
    ]);
  });

  prop.prop([fc.float({ noNaN: true, noDefaultInfinity: true })])('gives the nearest bfloat16 value', (value) => {
    const rounded = f32ToBf16(Float32Array.of(value));
    const near = (step: number) => bf16ToF32(Uint16Array.of(rounded[0]! + step))[0]!;
    const off = Math.abs(near(0) - value);
    // beyond the largest bfloat16, infinity represents 2^128
    if (Number.isFinite(near(0))) for (const step of [-1, 1]) expect(Math.abs(near(step) - value) < off).toBe(false);
    else expect(Math.abs(value)).toBeGreaterThanOrEqual(2 ** 128 - 2 ** 119);
  });
});

describe('float16 to float32', () => {
  test("gives PyTorch's value for all 65536 patterns", () => {
    expect(sha256(oneNaN32(bits(f16ToF32(everyPattern))))).toBe(torch.f16_to_f32);
  });

  test('reads hand-worked patterns: smallest subnormal, largest, signed zero, NaN with its payload', () => {
    const found = f16ToF32(Uint16Array.of(0x3c00, 0x0001, 0x03ff, 0x7bff, 0x8000, 0xfc00));
    expect([...found]).toEqual([1, 2 ** -24, 1023 * 2 ** -24, 65504, -0, -Infinity]);
    expect([...bits(f16ToF32(Uint16Array.of(0x7e00, 0xfd55)))]).toEqual([0x7fc00000, 0xffaaa000]);
  });
});

describe('float32 to float16', () => {
  test('rounds as PyTorch does: every upper half, lower halves around the tie', () => {
    const wide = torch.f32_to_f16.lower_halves.flatMap((low) => [...everyPattern].map((high) => high * 0x10000 + low));
    const found = f32ToF16(new Float32Array(Uint32Array.from(wide).buffer));
    expect(sha256(found.map((b) => ((b & 0x7fff) > 0x7c00 ? 0x7e00 : b)))).toBe(torch.f32_to_f16.sha256);
  });

  test('round-trips all 65536 patterns; signalling NaN becomes quiet', () => {
    const expected = everyPattern.map((b) => ((b & 0x7fff) > 0x7c00 ? b | 0x200 : b));
    expect(f32ToF16(f16ToF32(everyPattern))).toEqual(expected);
  });

  test('rounds ties to even, subnormal values too, and values past the largest to infinity', () => {
    const ties = Float32Array.of(1 + 2 ** -11, 1 + 3 * 2 ** -11, 2 ** -25, 3 * 2 ** -25, 65519, 65520, -1e9);
    expect([...f32ToF16(ties)]).toEqual([0x3c00, 0x3c02, 0, 2, 0x7bff, 0x7c00, 0xfc00]);
  });
});

describe('an output array', () => {
  test('receives the values and is returned', () => {
    const out = new Float32Array(4);
    const part = out.subarray(1, 3);
    expect(bf16ToF32(Uint16Array.of(0x3f80, 0xc000), part)).toBe(part);
    expect([...out]).toEqual([0, 1, -2, 0]);
  });

  test('of another length is refused', () => {
    expect(() => bf16ToF32(new Uint16Array(3), new Float32Array(2))).toThrow(
      'expected 3 values, one per input value, found 2',
    );
    expect(() => f16ToF32(new Uint16Array(3), new Float32Array(4))).toThrow(
      'expected 3 values, one per input value, found 4',
    );
    expect(() => f32ToBf16(new Float32Array(3), new Uint16Array(2))).toThrow(
      'expected 3 values, one per input value, found 2',
    );
  });
});
