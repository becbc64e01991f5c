// RMSNorm: y = residual + x r (1 + w), r = 1 / √(mean x² + ε) over rows of H.
#include <algorithm>
#include <cmath>

#include "elementwise/checks.h"
#include "runtime/float-values.h"
#include "runtime/operation.h"
#include "runtime/parallel.h"
#include "runtime/scratch.h"
#include "runtime/vector-math.h"

namespace wpo {
namespace {

WPO_TARGET_CLONES void forward_rows(int64_t begin, int64_t end, int64_t h, float epsilon, const float* x,
                                    const float* w, const float* residual, float* y, float* inverse_rms) {
  for (int64_t i = begin; i < end; i++) {
    const float* xi = x + i * h;
    float* yi = y + i * h;
    float squares = sum_of(0, h, [=](int64_t j) WPO_INLINE_LAMBDA { return xi[j] * xi[j]; });
    float r = inverse_rms[i] = 1.0f / std::sqrt(squares / h + epsilon);
    if (residual) {
      const float* ri = residual + i * h;
      for (int64_t j = 0; j < h; j++) yi[j] = ri[j] + xi[j] * r * (1.0f + w[j]);
    } else {
      for (int64_t j = 0; j < h; j++) yi[j] = xi[j] * r * (1.0f + w[j]);
    }
  }
}

// dx = (g − x̂ mean(g x̂)) r with g = dy (1 + w), x̂ = x r; adds Σ dy x̂ to dw.
WPO_TARGET_CLONES void backward_rows(int64_t begin, int64_t end, int64_t h, const float* dy, const float* x,
                                     const float* inverse_rms, const float* w, float* dx, float* dw) {
  for (int64_t i = begin; i < end; i++) {
    const float *xi = x + i * h, *di = dy + i * h;
    float r = inverse_rms[i];
    float* o = dx + i * h;
    float through = sum_of(0, h, [=](int64_t j) WPO_INLINE_LAMBDA { return di[j] * (xi[j] * r) * (1.0f + w[j]); });
    float mean = through / h;
    for (int64_t j = 0; j < h; j++) {
      float normed = xi[j] * r;
      dw[j] += di[j] * normed;
      o[j] = (di[j] * (1.0f + w[j]) - normed * mean) * r;
    }
  }
}

// x, w, [epsilon, 1 where a residual is added], the residual or any tensor -> y, r
void norm(OpContext& ctx) {
  const auto [n, h, epsilon, has_residual] = read_rms_norm(ctx);
  const FloatValues weight(ctx.view(1));
  const float *x = ctx.input(0), *w = weight.get(), *residual = has_residual ? ctx.input(3) : nullptr;
  float *y = ctx.output(0, ctx.shape(0)), *inverse_rms = ctx.output(1, {n, 1});
  parallel(n, h, [=, h = h, epsilon = epsilon](int64_t a, int64_t b, int) {
    forward_rows(a, b, h, epsilon, x, w, residual, y, inverse_rms);
  });
}

// dy, x, r, w -> dx, dw
void norm_gradient(OpContext& ctx) {
  require_rms_norm_gradient(ctx);
  const int64_t n = ctx.rows(1), h = ctx.width(1);
  const FloatValues weight(ctx.view(3));
  const float *dy = ctx.input(0), *x = ctx.input(1), *inverse_rms = ctx.input(2), *w = weight.get();
  float *dx = ctx.output(0, ctx.shape(1)), *dw = ctx.output(1, {h});
  std::fill_n(dw, h, 0.0f);
  if (n == 0) return;
  // each piece of rows has its own sum, and they are added in order: the same bits in every run
  const int64_t pieces = std::min<int64_t>(n, 64), each = (n + pieces - 1) / pieces;
  const Scratch sums = allocate_scratch(checked_product(pieces, h));
  float* partial = sums.get();
  std::fill_n(partial, pieces * h, 0.0f);
  parallel(pieces, saturated_product(each, h), [=](int64_t a, int64_t b, int) {
    for (int64_t p = a; p < b; p++)
      backward_rows(p * each, std::min(n, (p + 1) * each), h, dy, x, inverse_rms, w, dx, partial + p * h);
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
