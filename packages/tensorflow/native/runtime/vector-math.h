// exp and tanh that a compiler can turn into vector code, and sums over several partial sums. NaN in gives NaN out.
#pragma once
#include <cstdint>
#include <cstring>

// One build serves every x86 CPU: the widest version that the CPU can run is chosen at load.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(WPO_NO_TARGET_CLONES)
#define WPO_TARGET_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define WPO_TARGET_CLONES
#endif
#define WPO_INLINE static inline __attribute__((always_inline))
#define WPO_INLINE_LAMBDA __attribute__((always_inline))

namespace wpo {

WPO_INLINE float bits_to_float(int32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

// e^x to 2 units in the last place, for x from −87.3 to 88; NaN for NaN.
// Cody and Waite's reduction, then a degree-6 polynomial on [−ln 2 / 2, ln 2 / 2] (Cephes, expf).
WPO_INLINE float exp_in_range(float x) {
  float shifted = x * 1.44269504f + 12582912.0f;  // 1.5 · 2^23: rounds to the nearest integer
  float n = shifted - 12582912.0f;
  float r = x - n * 0.693359375f;
  r -= n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  uint32_t shifted_bits;
  std::memcpy(&shifted_bits, &shifted, 4);
  return p * bits_to_float(static_cast<int32_t>((shifted_bits - 0x4B400000u + 127u) << 23));
}

// e^x; 0 below −87.3, largest finite power above 88.
WPO_INLINE float fast_exp(float x) {
  const float upper = x > 88.0f ? 88.0f : x, y = exp_in_range(upper < -87.3f ? -87.3f : upper);
  return x < -87.3f ? 0.0f : y;
}

// For scores that are capped at `cap`, softmax subtracts this value instead of their maximum before exp. The results
// are far from overflow and underflow, and large enough that a bf16x3 split (gemm/bf16x3.h) keeps their low parts.
WPO_INLINE float softmax_shift(float cap) { return cap > 50.0f ? cap - 50.0f : 0.0f; }

// tanh x to 2 units in the last place: odd polynomial near 0 (Cephes, tanhf), from e^2x elsewhere.
WPO_INLINE float fast_tanh(float x) {
  float a = __builtin_fabsf(x);
  float z = x * x;
  float p = -5.70498872745e-3f;
  p = p * z + 2.06390887954e-2f;
  p = p * z + -5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z + -3.33332819422e-1f;
  float small = p * z * x + x;
  float large = 1.0f - 2.0f / (exp_in_range(2.0f * (a > 12.0f ? 12.0f : a)) + 1.0f);
  return a < 0.625f ? small : __builtin_copysignf(large, x);
}

constexpr int kPartialSums = 16;

WPO_INLINE float reduce_sum(const float* partial) {
  float t[4];
  for (int i = 0; i < 4; i++) t[i] = (partial[i] + partial[i + 4]) + (partial[i + 8] + partial[i + 12]);
  return (t[0] + t[1]) + (t[2] + t[3]);
}

// Σ term(j) for j in [begin, end), as partial sums: vector code without allowing the compiler to reorder sums
// elsewhere.
template <class Term>
WPO_INLINE float sum_of(int64_t begin, int64_t end, Term term) {
  float partial[kPartialSums] = {};
  int64_t j = begin;
  for (; j + kPartialSums <= end; j += kPartialSums)
    for (int i = 0; i < kPartialSums; i++) partial[i] += term(j + i);
  float rest = 0;
  for (; j < end; j++) rest += term(j);
  return reduce_sum(partial) + rest;
}

}  // namespace wpo
