#include "gemm/finite.h"

#include <algorithm>
#include <atomic>

#include "runtime/parallel.h"
#include "runtime/vector-math.h"

namespace wpo {
namespace {

constexpr int64_t kPiece = 4096;

// x − x is 0, or NaN where x is infinite or NaN.
template <class T>
WPO_INLINE bool finite_in(int64_t begin, int64_t end, const T* x) {
  const auto zero = [=](int64_t j) WPO_INLINE_LAMBDA { return load_float(x + j) - load_float(x + j); };
  return sum_of(begin, end, zero) == 0;
}
WPO_TARGET_CLONES bool finite_values(int64_t begin, int64_t end, const float* x) { return finite_in(begin, end, x); }
WPO_TARGET_CLONES bool finite_values(int64_t begin, int64_t end, const Bf16* x) { return finite_in(begin, end, x); }

}  // namespace

bool all_finite(const TensorView& x) {
  std::atomic<bool> finite{true};
  const int64_t count = element_count(x.shape);
  parallel((count + kPiece - 1) / kPiece, kPiece, [&](int64_t a, int64_t b, int) {
    const int64_t begin = a * kPiece, end = std::min(b * kPiece, count);
    const bool all = x.type == Type::kBfloat16 ? finite_values(begin, end, static_cast<const Bf16*>(x.data))
                                               : finite_values(begin, end, static_cast<const float*>(x.data));
    if (!all) finite = false;
  });
  return finite;
}

}  // namespace wpo
