#include "runtime/operation.h"

#include "runtime/parallel.h"
#include "runtime/vector-math.h"

namespace wpo {
namespace {

constexpr int64_t kPiece = 4096;  // values that a thread takes at a time

WPO_TARGET_CLONES void widen(int64_t begin, int64_t end, const Bf16* x, float* y) {
  for (int64_t j = begin; j < end; j++) y[j] = load_float(x + j);
}
WPO_TARGET_CLONES void round(int64_t begin, int64_t end, const float* x, Bf16* y) {
  for (int64_t j = begin; j < end; j++) y[j] = round_to_bf16(x[j]);
}

template <class Body>
void in_pieces(int64_t count, Body body) {
  parallel((count + kPiece - 1) / kPiece, kPiece,
           [=](int64_t a, int64_t b, int) { body(a * kPiece, std::min(b * kPiece, count)); });
}

}  // namespace

float* OpContext::hold_floats(int64_t count) {
  held_.push_back(allocate_scratch(count));
  return held_.back().get();
}
void OpContext::widen_values(const TensorView& x, float* y) {
  const Bf16* from = static_cast<const Bf16*>(x.data);
  in_pieces(element_count(x.shape), [=](int64_t begin, int64_t end) { widen(begin, end, from, y); });
}
void OpContext::round_values(const float* x, const TensorView& y) {
  Bf16* to = static_cast<Bf16*>(y.data);
  in_pieces(element_count(y.shape), [=](int64_t begin, int64_t end) { round(begin, end, x, to); });
}

}  // namespace wpo
