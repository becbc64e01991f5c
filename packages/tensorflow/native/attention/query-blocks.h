// Query blocks: consecutive queries that attend to the same ranges of keys. Reads and checks the inputs of attention.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "runtime/operation.h"

namespace wpo {

// Columns [start, start + count) of the keys.
struct KeyRange {
  int64_t start, count;
};

// Queries [start, start + count). Their keys are those of all ranges, one range after the other. The first query's own
// key has index `position_offset` among them. A query sees its own key and the `window` − 1 keys before it.
struct QueryBlock {
  int64_t start, count, position_offset, window;
  int64_t keys = 0;  // of all ranges
  std::vector<KeyRange> ranges = {};
};

// Windows and positions are added in int32 arithmetic: this bounds both.
constexpr int64_t kMaxPosition = int64_t{1} << 30;

// `code`: for each block start, count, position offset, window, number of ranges, then start and count of each range.
// The blocks cover queries [0, queries) in order.
inline std::vector<QueryBlock> read_query_blocks(const int32_t* code, int64_t size, int64_t queries, int64_t columns) {
  std::vector<QueryBlock> blocks;
  int64_t next = 0;
  for (int64_t i = 0; i < size;) {
    const auto prefix = [&] { return "query block " + std::to_string(blocks.size()) + ": "; };
    if (i + 5 > size) fail(prefix(), "expected 5 numbers and its key ranges, found ", size - i, " numbers");
    QueryBlock block = {code[i], code[i + 1], code[i + 2], code[i + 3]};
    const int64_t ranges = code[i + 4];
    i += 5;
    if (ranges < 1 || 2 * ranges > size - i)
      fail(prefix(), "expected start and count of at least one key range, found ", size - i, " numbers for ", ranges,
           " ranges");
    for (int64_t r = 0; r < ranges; r++, i += 2) {
      const KeyRange range = {code[i], code[i + 1]};
      if (range.start < 0 || range.count < 0 || range.start + range.count > columns)
        fail(prefix(), "expected key ranges within ", columns, " columns, found ", range.count, " from ", range.start);
      block.keys += range.count;
      block.ranges.push_back(range);
    }
    if (block.start != next || block.count < 1 || block.count > queries - next)
      fail(prefix(), "expected one or more of the ", queries, " queries from ", next, " on, found ", block.count,
           " from ", block.start);
    if (block.keys < 1 || block.keys > kMaxPosition) fail(prefix(), "expected 1 to 2^30 keys, found ", block.keys);
    if (block.window < 1 || block.window > kMaxPosition || block.position_offset < 0 ||
        block.position_offset + block.count > kMaxPosition)
      fail(prefix(), "expected a window from 1 and positions from 0 to 2^30, found window ", block.window,
           ", position offset ", block.position_offset);
    // the last query's first key must exist
    if (block.position_offset + block.count - block.window >= block.keys)
      fail(prefix(), "expected each query to see a key, found ", block.keys, " keys for ", block.count,
           " queries with position offset ", block.position_offset, " and window ", block.window);
    next += block.count;
    blocks.push_back(std::move(block));
  }
  if (next != queries) fail("expected query blocks for all ", queries, " queries, found ", next);
  return blocks;
}

// Shapes, and how scores are capped: cap · tanh(factor · qᵀk), or factor · qᵀk where cap is 0.
struct AttentionArgs {
  int64_t heads, groups, width, queries, columns;
  float factor, cap;
  int64_t group_heads() const { return heads / groups; }
};

// Inputs q, q + 1 and q + 2 are queries [heads, width, queries], keys and values [groups, width, columns]. Input
// `params` has factor and cap.
inline AttentionArgs read_attention_args(const OpContext& ctx, int q, int params) {
  const Shape &queries = ctx.shape(q), &keys = ctx.shape(q + 1), &values = ctx.shape(q + 2);
  const bool fits = queries.size() == 3 && keys.size() == 3 && keys == values && queries[1] == keys[1] && keys[1] > 0 &&
                    keys[0] > 0 && queries[0] > 0 && queries[0] % keys[0] == 0;
  require(fits,
          "expected q [heads, D, T], k and v [groups, D, S] with D above 0 and heads a multiple of groups, found ",
          queries, ", ", keys, " and ", values);
  const float* numbers = ctx.params(params, 2, "factor, cap");
  return {queries[0], keys[0], queries[1], queries[2], keys[2], numbers[0], numbers[1]};
}

inline std::vector<QueryBlock> read_query_blocks(const OpContext& ctx, int i, const AttentionArgs& args) {
  return read_query_blocks(ctx.input<int32_t>(i), ctx.size(i), args.queries, args.columns);
}

// For attention with one query per sequence: input i has the first key column and the number of keys of each query.
// Returns the largest number.
inline int64_t read_key_ranges(const OpContext& ctx, int i, const AttentionArgs& args) {
  require(ctx.size(i) == 2 * args.queries, "expected a key range, start and count, for each of ", args.queries,
          " queries, found ", ctx.size(i), " numbers");
  const int32_t* ranges = ctx.input<int32_t>(i);
  int64_t longest = 0;
  for (int64_t b = 0; b < args.queries; b++) {
    const int64_t start = ranges[2 * b], count = ranges[2 * b + 1];
    if (start < 0 || count < 1 || start + count > args.columns)
      fail("query ", b, ": expected at least one key within ", args.columns, " columns, found ", count, " from ",
           start);
    longest = std::max(longest, count);
  }
  return longest;
}

}  // namespace wpo
