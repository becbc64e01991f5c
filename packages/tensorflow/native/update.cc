// Sums in place, and the optimizer's update in place: no second copy of a weight, a moment or a gradient.
#include <cmath>
#include "op.h"
#include "parallel.h"
#include "vector-math.h"

namespace wpo {
namespace {

constexpr int64_t kPiece = 4096;

template <class Values>
void over(int64_t n, int64_t touched, Values values) {
  parallel((n + kPiece - 1) / kPiece, touched * kPiece,
           [=](int64_t a, int64_t b, int) { values(a * kPiece, b * kPiece < n ? b * kPiece : n); });
}

WPO_VECTOR void add_values(int64_t begin, int64_t end, float* into, const float* x) {
  for (int64_t j = begin; j < end; j++) into[j] += x[j];
}

WPO_VECTOR void add_row(int64_t h, float* into, const float* x) {
  for (int64_t j = 0; j < h; j++) into[j] += x[j];
}

WPO_VECTOR float squares(int64_t begin, int64_t end, const float* x) {
  return sum_of(begin, end, [=](int64_t j) WPO_TERM { return x[j] * x[j]; });
}

struct AdamW {
  float scale, beta1, beta2, epsilon, step, correction, keep;
};

// PyTorch's order and placement of epsilon: p ← p keep; m, v; p ← p − step m / (√v / correction + ε).
WPO_VECTOR void adamw_values(int64_t begin, int64_t end, const AdamW a, float* p, float* m, float* v, const float* g) {
  for (int64_t j = begin; j < end; j++) {
    const float x = g[j] * a.scale;
    m[j] += (x - m[j]) * (1.0f - a.beta1);
    v[j] = v[j] * a.beta2 + (1.0f - a.beta2) * x * x;
    p[j] = p[j] * a.keep - a.step * m[j] / (std::sqrt(v[j]) / a.correction + a.epsilon);
  }
}

// into (changed), x -> done []
void add(Run& run) {
  if (!run.ok(run.size(0) == run.size(1), "what is added differs in size")) return;
  float* into = run.in(0);
  const float* x = run.in(1);
  over(run.size(0), 2, [=](int64_t a, int64_t b) { add_values(a, b, into, x); });
  if (float* done = run.out(0, {})) *done = 0;
}

// into [V, H] (changed), rows' indices [n], x [n, H] -> done []; in the order given, so the same bits at every run
void add_rows(Run& run) {
  const int64_t h = run.width(0), count = run.rows(0), n = run.size(1);
  const int32_t* indices = run.in<int32_t>(1);
  bool fits = run.size(2) == n * h;
  for (int64_t i = 0; fits && i < n; i++) fits = indices[i] >= 0 && indices[i] < count;
  if (!run.ok(fits, "wanted a row of the same width for each index, and indices below the row count")) return;
  float* into = run.in(0);
  const float* x = run.in(2);
  for (int64_t i = 0; i < n; i++) add_row(h, into + indices[i] * h, x + i * h);
  if (float* done = run.out(0, {})) *done = 0;
}

// x -> Σ x² [], in double
void square_sum(Run& run) {
  const int64_t n = run.size(0), pieces = (n + kPiece - 1) / kPiece;
  const float* x = run.in(0);
  std::vector<double> sums(pieces);
  double* partial = sums.data();
  parallel(pieces, kPiece, [=](int64_t a, int64_t b, int) {
    for (int64_t p = a; p < b; p++) partial[p] = squares(p * kPiece, (p + 1) * kPiece < n ? (p + 1) * kPiece : n, x);
  });
  double total = 0;
  for (double part : sums) total += part;
  if (float* y = run.out(0, {})) *y = static_cast<float>(total);
}

// p, m, v (changed), g, [scale, β₁, β₂, ε, lr / (1 − β₁ᵗ), √(1 − β₂ᵗ), 1 − lr λ] -> done []
void adamw(Run& run) {
  const int64_t n = run.size(0);
  if (!run.ok(run.size(1) == n && run.size(2) == n && run.size(3) == n && run.size(4) == 7, "sizes differ")) return;
  float *p = run.in(0), *m = run.in(1), *v = run.in(2);
  const float *g = run.in(3), *a = run.numbers(4);
  const AdamW how{a[0], a[1], a[2], a[3], a[4], a[5], a[6]};
  over(n, 7, [=](int64_t begin, int64_t end) { adamw_values(begin, end, how, p, m, v, g); });
  if (float* done = run.out(0, {})) *done = 0;
}

}  // namespace

void define_update() {
  define<add>("WpoAdd", {"into: float", "x: float"}, {"done: float"});
  define<add_rows>("WpoAddRows", {"into: float", "indices: int32", "x: float"}, {"done: float"});
  define<square_sum>("WpoSquareSum", {"x: float"}, {"y: float"});
  define<adamw>("WpoAdamW", {"p: float", "m: float", "v: float", "g: float", "how: int32"}, {"done: float"});
}

}  // namespace wpo
