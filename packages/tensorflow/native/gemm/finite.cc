#include "gemm/finite.h"

#include <algorithm>
#include <atomic>

#include "runtime/parallel.h"
#include "runtime/vector-math.h"

namespace wpo {
namespace {

constexpr int64_t kPiece = 4096;

// x − x is 0, or NaN where x is infinite or NaN.
WPO_TARGET_CLONES bool finite_values(int64_t begin, int64_t end, const float* x) {
  return sum_of(begin, end, [=](int64_t j) WPO_INLINE_LAMBDA { return x[j] - x[j]; }) == 0;
}

}  // namespace

bool all_finite(const float* x, int64_t count) {
  std::atomic<bool> finite{true};
  parallel((count + kPiece - 1) / kPiece, kPiece, [&](int64_t a, int64_t b, int) {
    if (!finite_values(a * kPiece, std::min(b * kPiece, count), x)) finite = false;
  });
  return finite;
}

}  // namespace wpo
