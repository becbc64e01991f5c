// Spans of queries that attend to the same runs of keys, and the checks of what attention is given.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>
#include "op.h"

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

// Whether inputs q, q + 1 and q + 2 are queries [heads, D, T], keys and values [groups, D, S], q + 3 spans, and q + 4 two numbers.
inline bool read_attention(Run& run, int q, std::vector<Span>* spans) {
  const Shape queries = run.shape(q), keys = run.shape(q + 1);
  const bool fits = queries.size() == 3 && keys.size() == 3 && keys == run.shape(q + 2) && queries[1] == keys[1] &&
                    keys[0] > 0 && queries[0] % keys[0] == 0 && run.size(q + 4) == 2;
  return run.ok(fits, "queries, keys and values do not fit") &&
         run.ok(read_spans(run.in<int32_t>(q + 3), run.size(q + 3), queries[2], keys[2], spans), "spans that do not fit");
}

// Whether inputs are q [heads, D, B], k and v [groups, D, C], for each of B queries a first column and its keys, and two numbers;
// `longest` gets the most keys of a query.
inline bool read_single_attention(Run& run, int64_t* longest) {
  const Shape q = run.shape(0), k = run.shape(1);
  bool fits = q.size() == 3 && k.size() == 3 && run.shape(2) == k && q[1] == k[1] && k[0] > 0 && q[0] % k[0] == 0 &&
              run.size(3) == 2 * q[2] && run.size(4) == 2;
  const int32_t* spans = run.in<int32_t>(3);
  *longest = 0;
  for (int64_t b = 0; fits && b < q[2]; b++) {
    const int64_t start = spans[2 * b], keys = spans[2 * b + 1];
    fits = start >= 0 && keys >= 1 && start + keys <= k[2];
    *longest = std::max(*longest, keys);
  }
  return run.ok(fits, "wanted q [N, D, B], k and v [K, D, C], and a span of columns for each of B queries");
}

}  // namespace wpo
