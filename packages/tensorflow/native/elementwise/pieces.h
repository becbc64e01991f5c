#pragma once
#include <algorithm>
#include <cstdint>

#include "runtime/parallel.h"

namespace wpo {

constexpr int64_t kPiece = 4096;  // values that a thread takes at a time

// Calls body(begin, end) over pieces of [0, n), on all threads. `cost` is about the number of values touched per
// index.
template <class Body>
void parallel_values(int64_t n, int64_t cost, Body body) {
  parallel((n + kPiece - 1) / kPiece, cost * kPiece,
           [=](int64_t a, int64_t b, int) { body(a * kPiece, std::min(b * kPiece, n)); });
}

}  // namespace wpo
