// AdamW's update of values, and the codes of 8-bit moments, for kernels on the CPU and on a GPU.
#pragma once
#include <cmath>
#include <vector>

#include "elementwise/updates.h"
#include "runtime/vector-math.h"

namespace wpo {

// PyTorch's order and placement of epsilon: p ← p decay_factor; m, v; p ← p − step_size m / (√v / bias_correction2_sqrt
// + ε).
WPO_INLINE void adamw_values(int64_t n, const AdamWParams& a, float* p, float* m, float* v, const float* g) {
  for (int64_t j = 0; j < n; j++) {
    const float x = g[j] * a.scale;
    m[j] += (x - m[j]) * a.one_minus_beta1;
    v[j] = v[j] * a.beta2 + a.one_minus_beta2 * x * x;
    p[j] = p[j] * a.decay_factor - a.step_size * m[j] / (std::sqrt(v[j]) / a.bias_correction2_sqrt + a.epsilon);
  }
}

constexpr int64_t kSteps = 65536;  // from −1 to 1: a value is rounded to one before its code is looked up

// The code of each step: of the nearest number of the map, and of the smaller of two equally near.
inline std::vector<uint8_t> code_table(const float* map) {
  std::vector<uint8_t> table(kSteps);
  int code = 0;
  for (int64_t step = 0; step < kSteps; step++) {
    const float value = static_cast<float>(2 * step) / static_cast<float>(kSteps - 1) - 1.0f;
    while (code < kCodes - 1 && (map[code] + map[code + 1]) / 2 < value) code++;
    table[static_cast<size_t>(step)] = static_cast<uint8_t>(code);
  }
  return table;
}

}  // namespace wpo
