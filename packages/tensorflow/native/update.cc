// Sums in place, and the optimizer's update in place: no second copy of a weight, a moment or a gradient.
#include <algorithm>
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

// Memory gives more where a thread reads at a few places at once.
WPO_VECTOR float squares(int64_t n, const float* x) {
  const int64_t part = n / 4;
  const float *y = x + part, *z = y + part, *last = z + part;
  const float all = sum_of(0, part, [=](int64_t j) WPO_TERM {
    return (x[j] * x[j] + y[j] * y[j]) + (z[j] * z[j] + last[j] * last[j]);
  });
  return all + sum_of(4 * part, n, [=](int64_t j) WPO_TERM { return x[j] * x[j]; });
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

// Adds row i of x, input `from`, to row indices[i] of `into` [count, h], in the order given, so the same bits at every run.
void add_rows(Run& run, int from, int64_t count, int64_t h, float* into) {
  const int64_t n = run.size(from - 1);
  const int32_t* indices = run.in<int32_t>(from - 1);
  bool fits = run.size(from) == n * h;
  for (int64_t i = 0; fits && i < n; i++) fits = indices[i] >= 0 && indices[i] < count;
  if (!run.ok(fits, "wanted a row of the same width for each index, and indices below the row count")) return;
  const float* x = run.in(from);
  for (int64_t i = 0; i < n; i++) add_row(h, into + indices[i] * h, x + i * h);
}

// into [V, H] (changed), rows' indices [n], x [n, H] -> done []
void add_rows_in_place(Run& run) {
  add_rows(run, 2, run.rows(0), run.width(0), run.in(0));
  if (float* done = run.out(0, {})) *done = 0;
}

// rows' indices [n], x [n, H], [V] -> zeros [V, H] with the rows added
void spread_rows(Run& run) {
  const int64_t h = run.width(1), count = run.size(2) == 1 ? *run.in<int32_t>(2) : -1;
  if (!run.ok(count >= 0, "wanted one row count")) return;
  float* y = run.out(0, {count, h});
  if (!y) return;
  std::fill_n(y, count * h, 0.0f);
  add_rows(run, 1, count, h, y);
}

// the bits of values -> the values: on a GPU they go there without a wait for the work before
void floats(Run& run) {
  if (float* y = run.out(0, run.shape(0))) std::copy_n(run.in(0), run.size(0), y);
}

double square_sum(const float* x, int64_t n) {
  const int64_t pieces = (n + kPiece - 1) / kPiece;
  std::vector<double> sums(pieces);
  double* partial = sums.data();
  parallel(pieces, kPiece, [=](int64_t a, int64_t b, int) {
    for (int64_t p = a; p < b; p++) partial[p] = squares(std::min(kPiece, n - p * kPiece), x + p * kPiece);
  });
  double total = 0;
  for (double part : sums) total += part;
  return total;
}

// N tensors -> Σ x² of each [N], in double
void square_sums(Run& run) {
  float* y = run.out(0, {run.count()});
  for (int i = 0; y && i < run.count(); i++) y[i] = static_cast<float>(square_sum(run.in(i), run.size(i)));
}

// [scale, β₁, β₂, ε, lr / (1 − β₁ᵗ), √(1 − β₂ᵗ), 1 − lr λ], then p, m, v (changed), g of each parameter -> done []
void adamw(Run& run) {
  bool fits = run.size(0) == 7 && run.count() % 4 == 1;
  for (int i = 1; fits && i < run.count(); i++) fits = run.size(i) == run.size(i - (i - 1) % 4);
  if (!run.ok(fits, "wanted seven numbers, and four tensors of one size for each parameter")) return;
  const float* a = run.numbers(0);
  const AdamW how{a[0], a[1], a[2], a[3], a[4], a[5], a[6]};
  for (int i = 1; i < run.count(); i += 4) {
    float *p = run.in(i), *m = run.in(i + 1), *v = run.in(i + 2);
    const float* g = run.in(i + 3);
    over(run.size(i), 7, [=](int64_t begin, int64_t end) { adamw_values(begin, end, how, p, m, v, g); });
  }
  if (float* done = run.out(0, {})) *done = 0;
}

}  // namespace

void define_update() {
  define<add>("WpoAdd", {"into: float", "x: float"}, {"done: float"});
  define<add_rows_in_place>("WpoAddRows", {"into: float", "indices: int32", "x: float"}, {"done: float"});
  define<spread_rows>("WpoSpreadRows", {"indices: int32", "x: float", "count: int32"}, {"y: float"});
  define<floats>("WpoFloats", {"bits: int32"}, {"values: float"});
  define<square_sums>("WpoSquareSums", {"x: N * float"}, {"y: float"}, {"N: int >= 1"});
  define<adamw>("WpoAdamW", {"how: int32", "tensors: N * float"}, {"done: float"}, {"N: int >= 1"});
}

}  // namespace wpo
