// The key columns that each query sees, which query blocks describe.
#pragma once
#include <algorithm>
#include <vector>

#include "attention/query-blocks.h"

namespace wpo {

// Calls see(low, high) with the keys [low, high) of a block that each of its queries sees.
template <class See>
void for_each_query(const QueryBlock& block, See see) {
  for (int64_t i = 0; i < block.count; i++) {
    const int64_t position = block.position_offset + i;
    see(std::max<int64_t>(0, position - block.window + 1), std::min(position + 1, block.keys));
  }
}

// For each query two ranges of columns, each as begin and end, where adjacent ranges are one. Returns false if a query
// sees more than two.
inline bool visible_columns(const std::vector<QueryBlock>& blocks, std::vector<int32_t>* visible) {
  bool two_are_enough = true;
  for (const QueryBlock& block : blocks)
    for_each_query(block, [&](int64_t low, int64_t high) {
      int64_t at = 0;
      const size_t begin = visible->size();
      for (const KeyRange& range : block.ranges) {
        const int64_t from = std::max(low, at) - at + range.start,
                      to = std::min(high, at + range.count) - at + range.start;
        at += range.count;
        if (to <= from) continue;
        if (visible->size() > begin && visible->back() == from) {
          visible->back() = static_cast<int32_t>(to);
          continue;
        }
        for (const int64_t n : {from, to}) visible->push_back(static_cast<int32_t>(n));
      }
      two_are_enough = two_are_enough && visible->size() <= begin + 4;
      visible->resize(begin + 4);
    });
  return two_are_enough;
}

}  // namespace wpo
