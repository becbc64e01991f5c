// Spans of queries that attend to the same runs of keys, and those keys as tiles read them.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>
#include "product.h"

namespace wpo {

struct KeyRun {
  int64_t start, length;
};

// Queries `row` .. `row + rows` of T; the first one's position is `lead` past that of the first key.
struct Span {
  int64_t row, rows, lead, window, keys;
  std::vector<KeyRun> runs;
};

// spans: row, rows, lead, window, runs of keys, then start and length of each run
inline bool read_spans(const int32_t* numbers, int64_t size, int64_t queries, int64_t columns, std::vector<Span>* spans) {
  int64_t next = 0;
  for (int64_t i = 0; i + 5 <= size;) {
    Span span = {numbers[i], numbers[i + 1], numbers[i + 2], numbers[i + 3], 0, {}};
    const int64_t runs = numbers[i + 4];
    i += 5;
    if (runs < 1 || i + 2 * runs > size) return false;
    for (int64_t r = 0; r < runs; r++, i += 2) {
      const KeyRun run = {numbers[i], numbers[i + 1]};
      if (run.start < 0 || run.length < 0 || run.start + run.length > columns) return false;
      span.keys += run.length;
      span.runs.push_back(run);
    }
    // every query sees a key, and every column has a query
    const bool sees = span.lead >= 0 && span.window >= 1 && span.lead + span.rows - span.window < span.keys;
    if (span.row != next || span.rows < 1 || span.keys < 1 || !sees) return false;
    next += span.rows;
    spans->push_back(span);
  }
  return next == queries;
}

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
