// A counter-based generator of random numbers: those of dropout and of stochastic rounding. Number `index` of a key is
// a function of both, so it does not depend on the order in which numbers are computed, nor on the thread. The same
// numbers as `randomBits` of internal/src/random.ts.
#pragma once
#include <cstdint>

#include "runtime/vector-math.h"

namespace wpo {

// C. Wellons' lowbias32 (public domain).
WPO_INLINE uint32_t mix_bits(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  return x ^ (x >> 16);
}

// The step between the numbers of a key, as in SplitMix.
WPO_INLINE uint32_t key_increment(uint32_t key) { return mix_bits(key ^ 0x5bd1e995u) | 1u; }

}  // namespace wpo
