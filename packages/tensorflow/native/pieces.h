// Where the keys that some queries see lie: all keys and values are laid out once, in panels of W columns, and spans read what
// they see of them.
#pragma once
#include <algorithm>
#include <vector>
#include "product.h"
#include "spans.h"

namespace wpo {

// Columns [begin, end) of one run, or of runs side by side, in panels from column `first` on, and the columns in panels of the
// pieces before. Column c has key c + shift of the span.
struct Piece {
  int64_t first, begin, end, shift, before;
  int64_t depth() const { return end - first; }
};

// Pieces of keys [low, high) of a span, in panels of W.
inline std::vector<Piece> pieces_of(const Span& span, int64_t low, int64_t high, int64_t W) {
  std::vector<Piece> pieces;
  int64_t key = 0, before = 0;
  for (const KeyRun& run : span.runs) {
    const int64_t shift = key - run.start, begin = std::max(low, key) - shift;
    const int64_t end = std::min(high, key + run.length) - shift;
    key += run.length;
    if (begin >= end) continue;
    if (!pieces.empty() && pieces.back().end == begin && pieces.back().shift == shift) {
      pieces.back().end = end;
      continue;
    }
    if (!pieces.empty()) before += up_to(pieces.back().depth(), W);
    pieces.push_back({begin / W * W, begin, end, shift, before});
  }
  return pieces;
}

// Columns in panels of W of all pieces, and the most that a span's can be.
inline int64_t columns_of(const std::vector<Piece>& pieces, int64_t W) {
  return pieces.back().before + up_to(pieces.back().depth(), W);
}
inline int64_t most_columns(const std::vector<Span>& spans, int64_t W) {
  int64_t most = 0;
  for (const Span& span : spans) most = std::max(most, span.keys + 2 * W * static_cast<int64_t>(span.runs.size()));
  return up_to(most, W);
}

}  // namespace wpo
