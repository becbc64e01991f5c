// RMSNorm: y = residual + x r (1 + w), r = 1 / √(mean x² + ε) over rows of H.
#include <algorithm>
#include <cmath>

#include "elementwise/checks.h"
#include "elementwise/typed.h"
#include "runtime/operation.h"
#include "runtime/parallel.h"
#include "runtime/scratch.h"
#include "runtime/vector-math.h"

namespace wpo {
namespace {

template <class X, class Y>
WPO_INLINE void forward_rows(int64_t begin, int64_t end, int64_t h, float epsilon, const X* x, const float* w,
                             const float* residual, Y* y, float* inverse_rms) {
  for (int64_t i = begin; i < end; i++) {
    const X* xi = x + i * h;
    Y* yi = y + i * h;
    const auto square = [=](int64_t j) WPO_INLINE_LAMBDA { return load_float(xi + j) * load_float(xi + j); };
    const float r = inverse_rms[i] = 1.0f / std::sqrt(sum_of(0, h, square) / h + epsilon);
    if (residual) {
      const float* ri = residual + i * h;
      for (int64_t j = 0; j < h; j++) store_float(yi + j, ri[j] + load_float(xi + j) * r * (1.0f + w[j]));
    } else {
      for (int64_t j = 0; j < h; j++) store_float(yi + j, load_float(xi + j) * r * (1.0f + w[j]));
    }
  }
}

// dx = (g − x̂ mean(g x̂)) r with g = dy (1 + w), x̂ = x r; adds Σ dy x̂ to dw.
template <class X, class Y>
WPO_INLINE void backward_rows(int64_t begin, int64_t end, int64_t h, const float* dy, const X* x,
                              const float* inverse_rms, const float* w, Y* dx, float* dw) {
  for (int64_t i = begin; i < end; i++) {
    const X* xi = x + i * h;
    const float *di = dy + i * h, r = inverse_rms[i];
    Y* o = dx + i * h;
    const auto through = [=](int64_t j) WPO_INLINE_LAMBDA { return di[j] * (load_float(xi + j) * r) * (1.0f + w[j]); };
    const float mean = sum_of(0, h, through) / h;
    for (int64_t j = 0; j < h; j++) {
      const float normed = load_float(xi + j) * r;
      dw[j] += di[j] * normed;
      store_float(o + j, (di[j] * (1.0f + w[j]) - normed * mean) * r);
    }
  }
}

#define WPO_TYPED_LOOP(X, Y)                                                                                       \
  WPO_TARGET_CLONES void forward(int64_t begin, int64_t end, int64_t h, float epsilon, const X* x, const float* w, \
                                 const float* residual, Y* y, float* inverse_rms) {                                \
    forward_rows(begin, end, h, epsilon, x, w, residual, y, inverse_rms);                                          \
  }                                                                                                                \
  WPO_TARGET_CLONES void backward(int64_t begin, int64_t end, int64_t h, const float* dy, const X* x,              \
                                  const float* inverse_rms, const float* w, Y* dx, float* dw) {                    \
    backward_rows(begin, end, h, dy, x, inverse_rms, w, dx, dw);                                                   \
  }
WPO_TYPED_LOOPS
#undef WPO_TYPED_LOOP

// x, w, [epsilon, 1 where a residual is added], the residual or any tensor -> y, r
void norm(OpContext& ctx) {
  const RmsNormArgs args = read_rms_norm(ctx);
  const int64_t n = args.rows, h = args.width;
  const float *w = ctx.input(1), *residual = args.has_residual ? ctx.input(3) : nullptr;
  const TensorView output = ctx.typed_output(0, ctx.shape(0));
  float* inverse_rms = ctx.output(1, {n, 1});
  with_types(ctx.view(0), output, [=, epsilon = args.epsilon](const auto* x, auto* y) {
    parallel(n, h, [=](int64_t a, int64_t b, int) { forward(a, b, h, epsilon, x, w, residual, y, inverse_rms); });
  });
}

// dy, x, r, w -> dx, dw
void norm_gradient(OpContext& ctx) {
  require_rms_norm_gradient(ctx);
  const int64_t n = ctx.rows(1), h = ctx.width(1);
  const float *dy = ctx.input(0), *inverse_rms = ctx.input(2), *w = ctx.input(3);
  const TensorView output = ctx.typed_output(0, ctx.shape(1));
  float* dw = ctx.output(1, {h});
  std::fill_n(dw, h, 0.0f);
  if (n == 0) return;
  // each piece of rows has its own sum, and they are added in order: the same bits in every run
  const int64_t pieces = std::min<int64_t>(n, 64), each = (n + pieces - 1) / pieces;
  const Scratch sums = allocate_scratch(checked_product(pieces, h));
  float* partial = sums.get();
  std::fill_n(partial, pieces * h, 0.0f);
  with_types(ctx.view(1), output, [=](const auto* x, auto* dx) {
    parallel(pieces, saturated_product(each, h), [=](int64_t a, int64_t b, int) {
      for (int64_t p = a; p < b; p++)
        backward(p * each, std::min(n, (p + 1) * each), h, dy, x, inverse_rms, w, dx, partial + p * h);
    });
  });
  for (int64_t p = 0; p < pieces; p++)
    for (int64_t j = 0; j < h; j++) dw[j] += partial[p * h + j];
}

}  // namespace

void register_norm() {
  register_kernel<norm>("WpoRmsNorm");
  register_kernel<norm_gradient>("WpoRmsNormGrad");
}

}  // namespace wpo
