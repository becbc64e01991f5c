// RMSNorm: y = residual + x r (1 + w), r = 1 / √(mean x² + ε) over rows of H.
#include <algorithm>
#include <cmath>
#include "op.h"
#include "parallel.h"
#include "vector-math.h"

namespace wpo {
namespace {

WPO_VECTOR void forward_rows(int64_t begin, int64_t end, int64_t h, float epsilon, const float* x, const float* w,
                             const float* residual, float* y, float* inverse) {
  for (int64_t i = begin; i < end; i++) {
    const float* xi = x + i * h;
    float* yi = y + i * h;
    float squares = sum_of(0, h, [=](int64_t j) WPO_TERM { return xi[j] * xi[j]; });
    float r = inverse[i] = 1.0f / std::sqrt(squares / h + epsilon);
    if (residual) {
      const float* ri = residual + i * h;
      for (int64_t j = 0; j < h; j++) yi[j] = ri[j] + xi[j] * r * (1.0f + w[j]);
    } else {
      for (int64_t j = 0; j < h; j++) yi[j] = xi[j] * r * (1.0f + w[j]);
    }
  }
}

// dx = (g − x̂ mean(g x̂)) r with g = dy (1 + w), x̂ = x r; adds Σ dy x̂ to dw.
WPO_VECTOR void backward_rows(int64_t begin, int64_t end, int64_t h, const float* dy, const float* x,
                              const float* inverse, const float* w, float* dx, float* dw) {
  for (int64_t i = begin; i < end; i++) {
    const float *xi = x + i * h, *di = dy + i * h;
    float r = inverse[i];
    float* o = dx + i * h;
    float through = sum_of(0, h, [=](int64_t j) WPO_TERM { return di[j] * (xi[j] * r) * (1.0f + w[j]); });
    float mean = through / h;
    for (int64_t j = 0; j < h; j++) {
      float normed = xi[j] * r;
      dw[j] += di[j] * normed;
      o[j] = (di[j] * (1.0f + w[j]) - normed * mean) * r;
    }
  }
}

// x, w, [epsilon, 1 where a residual is added], that or anything -> y, r
void norm(Run& run) {
  const int64_t n = run.rows(0), h = run.width(0);
  const bool added = run.size(2) == 2 && run.numbers(2)[1] != 0;
  if (!run.ok(run.size(1) == h && run.size(2) == 2 && (!added || run.size(3) == n * h), "w or residual does not fit x")) return;
  const float *x = run.in(0), *w = run.in(1), *residual = added ? run.in(3) : nullptr;
  const float epsilon = run.numbers(2)[0];
  float *y = run.out(0, run.shape(0)), *inverse = run.out(1, {n, 1});
  if (!y || !inverse) return;
  parallel(n, h, [=](int64_t a, int64_t b, int) { forward_rows(a, b, h, epsilon, x, w, residual, y, inverse); });
}

// dy, x, r, w -> dx, dw
void norm_gradient(Run& run) {
  const int64_t n = run.rows(1), h = run.width(1);
  if (!run.ok(run.size(0) == n * h && run.size(2) == n && run.size(3) == h, "dy, r or w does not fit x")) return;
  const float *dy = run.in(0), *x = run.in(1), *inverse = run.in(2), *w = run.in(3);
  float *dx = run.out(0, run.shape(1)), *dw = run.out(1, {h});
  if (!dx || !dw) return;
  // each piece of rows has its own sum, and they are added in order: the same bits at every run
  const int64_t pieces = std::min<int64_t>(n, 64), each = (n + pieces - 1) / pieces;
  std::vector<float> sums(pieces * h, 0.0f);
  float* partial = sums.data();
  parallel(pieces, each * h, [=](int64_t a, int64_t b, int) {
    for (int64_t p = a; p < b; p++)
      backward_rows(p * each, std::min(n, (p + 1) * each), h, dy, x, inverse, w, dx, partial + p * h);
  });
  for (int64_t j = 0; j < h; j++) dw[j] = 0.0f;
  for (int64_t p = 0; p < pieces; p++)
    for (int64_t j = 0; j < h; j++) dw[j] += partial[p * h + j];
}

}  // namespace

void define_norm() {
  define<norm>("WpoRmsNorm", {"x: float", "w: float", "how: int32", "residual: float"}, {"y: float", "r: float"});
  define<norm_gradient>("WpoRmsNormGrad", {"dy: float", "x: float", "r: float", "w: float"},
                        {"dx: float", "dw: float"});
}

}  // namespace wpo
