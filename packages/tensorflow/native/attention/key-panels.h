// Finds the keys of some queries in packed panels. All keys and values are packed once, in panels of W columns;
// each query block reads the panels that its queries see.
#pragma once
#include <algorithm>
#include <vector>

#include "attention/query-blocks.h"
#include "gemm/tiles.h"

namespace wpo {

// Values [heads, width, columns] as operands of products, from a value on. The rows of an operand are a head's columns
// or its features. These are inlined, so that packing is compiled for one of the two.
struct Heads {
  explicit Heads(const TensorView& x) : data(static_cast<const char*>(x.data)), type(x.type), columns(x.shape[2]) {}
  WPO_INLINE Operand by_column(const Heads& x, int64_t from) {
    return {x.data + from * size_of(x.type), 1, x.columns, nullptr, x.type};
  }
  WPO_INLINE Operand by_feature(const Heads& x, int64_t from) {
    return {x.data + from * size_of(x.type), x.columns, 1, nullptr, x.type};
  }
  const char* data;
  Type type;
  int64_t columns;
};

// Columns [begin, end) of one key range, or of adjacent ranges. Its panels begin at column `first`. The panels of the
// earlier slices have `columns_before` columns. Column c has key index c + shift in the block.
struct KeySlice {
  int64_t first, begin, end, shift, columns_before;
  int64_t depth() const { return end - first; }
};

// Slices of keys [low, high) of a block, in panels of W columns.
inline std::vector<KeySlice> key_slices(const QueryBlock& block, int64_t low, int64_t high, int64_t W) {
  std::vector<KeySlice> slices;
  int64_t key = 0, before = 0;
  for (const KeyRange& range : block.ranges) {
    const int64_t shift = key - range.start, begin = std::max(low, key) - shift;
    const int64_t end = std::min(high, key + range.count) - shift;
    key += range.count;
    if (begin >= end) continue;
    if (!slices.empty() && slices.back().end == begin && slices.back().shift == shift) {
      slices.back().end = end;
      continue;
    }
    if (!slices.empty()) before += round_up(slices.back().depth(), W);
    slices.push_back({begin / W * W, begin, end, shift, before});
  }
  return slices;
}

// Columns of all slices in panels of W.
inline int64_t panel_columns(const std::vector<KeySlice>& slices, int64_t W) {
  return slices.back().columns_before + round_up(slices.back().depth(), W);
}
// An upper bound of panel_columns for any queries of these blocks.
inline int64_t max_panel_columns(const std::vector<QueryBlock>& blocks, int64_t W) {
  int64_t most = 0;
  for (const QueryBlock& block : blocks)
    most = std::max(most, block.keys + 2 * W * static_cast<int64_t>(block.ranges.size()));
  return round_up(most, W);
}

}  // namespace wpo
