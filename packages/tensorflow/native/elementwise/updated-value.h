// Parameters' values in float32, for updates on the CPU. The GPU's are in gpu/kernels.cu; those of JavaScript in
// src/kernels/low-bits.ts and trainer/src/stochastic-rounding.ts.
#pragma once
#include <algorithm>

#include "elementwise/pieces.h"
#include "elementwise/random.h"
#include "elementwise/updates.h"

namespace wpo {

// A float32 number as the nearest bfloat16 (ties away from zero) and the lower half of its bits, as a signed number:
// exact. With ties to even, two numbers would have the same halves. NaN stays NaN, but loses its lower half, because
// its upper half alone could be an infinity or 0.
WPO_INLINE void split(float x, Bf16& high, int16_t& low) {
  const uint32_t bits = float_to_bits(x);
  const bool is_nan = (bits & 0x7fffffff) > 0x7f800000;
  high = static_cast<Bf16>(is_nan ? bits >> 16 | 0x40 : (bits + 0x8000) >> 16);
  low = static_cast<int16_t>(is_nan ? 0 : bits);
}
WPO_INLINE float join(Bf16 high, int16_t low) {
  return bits_to_float(static_cast<int32_t>((uint32_t{high} << 16) + static_cast<uint32_t>(int32_t{low})));
}

// Rounds up with the probability that the lower half is of a whole spacing, by 16 random bits: the mean is x. Infinity
// and NaN stay so.
WPO_INLINE Bf16 round_randomly(float x, uint32_t random) {
  const uint32_t bits = float_to_bits(x), magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return static_cast<Bf16>(bits >> 16 | 0x40);
  return static_cast<Bf16>((magnitude == 0x7f800000 ? bits : bits + (random >> 16)) >> 16);
}

// Reads the values [begin, begin + n), and replaces them.
void load_values(const UpdatedValue& from, int64_t begin, int64_t n, float* values);
void store_values(const UpdatedValue& to, int64_t begin, int64_t n, const float* values);

// Calls update(p, at, n) for pieces of the values [begin, end): p has the values [at, at + n), which it changes.
template <class Update>
WPO_INLINE void update_values(const UpdatedValue& value, int64_t begin, int64_t end, Update update) {
  if (value.values) return update(value.values + begin, begin, end - begin);
  float piece[kPiece];
  for (int64_t at = begin; at < end; at += kPiece) {
    const int64_t n = std::min(kPiece, end - at);
    load_values(value, at, n, piece);
    update(piece, at, n);
    store_values(value, at, n, piece);
  }
}

}  // namespace wpo
