// A span's keys and values as tiles read them.
#pragma once
#include <algorithm>
#include "product.h"
#include "spans.h"

namespace wpo {

// Keys (or values) x [width, columns] of a span in panels of W, one after the other; zeros for keys that are not there.
template <int L, int W>
WPO_INLINE void lay_keys(const Span& span, const float* x, int64_t width, int64_t columns, float* panels) {
  int64_t at = 0;
  for (const KeyRun& run : span.runs) {
    for (int64_t j = 0; j < run.length;) {  // up to the panel's end or the run's
      const int64_t in = (at + j) % W, count = std::min<int64_t>(W - in, run.length - j);
      float* to = panels + (at + j - in) * width + in;
      const float* from = x + run.start + j;
      if (count == W)
        lay_values<L, W>({from, 1, columns}, W, width, to);
      else
        for (int64_t d = 0; d < width; d++) std::copy_n(from + d * columns, count, to + d * W);
      j += count;
    }
    at += run.length;
  }
  for (int64_t j = at; j % W; j++)
    for (int64_t d = 0; d < width; d++) panels[(j - j % W) * width + d * W + j % W] = 0;
}

// The same in panels of M features, each at the depth of all keys.
template <int L, int M>
WPO_INLINE void lay_features(const Span& span, const float* x, int64_t width, int64_t columns, float* panels) {
  int64_t at = 0;
  for (const KeyRun& run : span.runs) {
    for (int64_t d = 0; d < width; d += M)
      lay_values<L, M>({x + d * columns + run.start, columns, 1}, std::min<int64_t>(M, width - d), run.length,
                       panels + d * span.keys + at * M);
    at += run.length;
  }
}

}  // namespace wpo
