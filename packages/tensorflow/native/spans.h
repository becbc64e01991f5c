// Spans of queries that attend to the same runs of keys.
#pragma once
#include <cstdint>
#include <vector>

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

}  // namespace wpo
