// The random numbers of dropout.
#pragma once
#include <cstdint>

namespace wpo {

// C. Wellons' lowbias32 (public domain).
inline uint32_t mix_bits(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  return x ^ (x >> 16);
}

// The step between the numbers of a token, as in SplitMix.
inline uint32_t dropout_increment(uint32_t key) { return mix_bits(key ^ 0x5bd1e995u) | 1u; }

}  // namespace wpo
