// GeGLU with the tanh approximation: gelu(g) u = g σ(z) u, z = g (a + b g²), a = 2 √(2/π), b = 0.044715 a.
#pragma once
#include "runtime/vector-math.h"

namespace wpo {

constexpr float kLinear = 1.5957691216f, kCubic = 0.0713548162f;

WPO_INLINE float gated(float gate, float up) {
  const float z = gate * (kLinear + kCubic * gate * gate);
  return gate * up / (1.0f + fast_exp(-z));
}

}  // namespace wpo
