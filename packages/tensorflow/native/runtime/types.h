// The types of values in tensors, in stored memory (store.h) and in files, and conversions between them.
#pragma once
#include <cstdint>
#include <cstring>

#include "runtime/vector-math.h"

namespace wpo {

// The first four are those of stored values; their numbers are a program's (program.h). kFloat16 is the type of values
// in files only, kInt32 of an operation's inputs only.
enum class Type { kFloat32, kBfloat16, kInt16, kUint8, kFloat16, kInt32 };
constexpr int kStoredTypes = 4;

// The bits of a bfloat16.
using Bf16 = uint16_t;

// A float32 in memory that is rounded to bfloat16 when it is loaded.
struct RoundedFloat {
  float value;
};

// Of the operands of matrix products. kBfloat16: both operands are rounded to the nearest bfloat16, ties to even, and
// products are summed in float32. Everything else is computed in float32 with either.
enum class Precision { kFloat32, kBfloat16 };

inline int64_t size_of(Type type) {
  if (type == Type::kUint8) return 1;
  return type == Type::kBfloat16 || type == Type::kInt16 || type == Type::kFloat16 ? 2 : 4;
}

inline const char* name_of(Type type) {
  constexpr const char* kNames[] = {"float32", "bfloat16", "int16", "uint8", "float16", "int32"};
  return kNames[static_cast<int>(type)];
}

WPO_INLINE uint32_t float_to_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}

// Loads a value as float32. Exact.
WPO_INLINE float load_float(const float* at) { return *at; }
WPO_INLINE float load_float(const Bf16* at) { return bits_to_float(static_cast<int32_t>(uint32_t{*at} << 16)); }

// Rounds to the nearest bfloat16, ties to even. NaN stays NaN: its quiet bit is set, because without its last bits it
// could be an infinity.
WPO_INLINE Bf16 round_to_bf16(float value) {
  const uint32_t bits = float_to_bits(value), rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  return static_cast<Bf16>((bits & 0x7fffffff) > 0x7f800000 ? bits >> 16 | 0x40 : rounded);
}

// Stores a float32, rounded to the type.
WPO_INLINE void store_float(float* at, float value) { *at = value; }
WPO_INLINE void store_float(Bf16* at, float value) { *at = round_to_bf16(value); }

WPO_INLINE float load_float(const RoundedFloat* at) {
  float value;
  std::memcpy(&value, at, sizeof value);
  const Bf16 rounded = round_to_bf16(value);
  return load_float(&rounded);
}

// Widens the bits of a float16 (IEEE binary16). Exact.
WPO_INLINE float widen_float16(uint16_t bits) {
  constexpr uint32_t kExponent = 0x1f << 23, kBias = (127 - 15) << 23;
  const uint32_t magnitude = uint32_t{bits & 0x7fffu} << 13, exponent = magnitude & kExponent;
  const uint32_t normal = magnitude + (exponent == kExponent ? 2 * kBias : kBias);  // infinity and NaN stay so
  const float subnormal = bits_to_float(static_cast<int32_t>(magnitude + kBias + (1 << 23))) -
                          bits_to_float(static_cast<int32_t>(kBias + (1 << 23)));
  const uint32_t wide = exponent == 0 ? float_to_bits(subnormal) : normal;
  return bits_to_float(static_cast<int32_t>(wide | uint32_t{bits & 0x8000u} << 16));
}

}  // namespace wpo
