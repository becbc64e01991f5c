// x · wᵀ for a few rows of x, as generation has them: the weight is read once, as fast as memory gives it. A value comes of
// the same sum in the same order however many rows there are beside it.
#include <algorithm>
#include "op.h"
#include "parallel.h"
#include "product.h"
#include "scratch.h"

namespace wpo {
namespace {

constexpr int64_t kRows = 8;      // rows of x at a time
constexpr int64_t kAhead = 1024;  // values of a weight that memory is asked for before they are read

template <int L>
WPO_INLINE float total_of(const Vector<L>& lanes) {
  float sums[L];
  std::memcpy(sums, &lanes, sizeof sums);
  for (int half = L / 2; half > 0; half /= 2)
    for (int i = 0; i < half; i++) sums[i] += sums[i + half];
  return sums[0];
}

// y[n, b] = Σ w[n, ·] x[b, ·] for N rows of w, `apart` values from each other, and B of x, packed.
template <int L, int N, int B>
WPO_INLINE void products(int64_t width, const float* w, int64_t apart, const float* x, float* y, int64_t stride_n,
                         int64_t stride_b) {
  Vector<L> sums[N][B] = {};
  int64_t k = 0;
  for (; k + L <= width; k += L)
#pragma GCC unroll 8
    for (int n = 0; n < N; n++) {
      const float* at = w + n * apart + k;
      __builtin_prefetch(at + kAhead, 0, 2);  // into the second level: the first holds x
      const Vector<L> wk = *reinterpret_cast<const Vector<L>*>(at);
#pragma GCC unroll 8
      for (int b = 0; b < B; b++) sums[n][b] += wk * *reinterpret_cast<const Vector<L>*>(x + k * B + b * L);
    }
  for (int n = 0; n < N; n++)
    for (int b = 0; b < B; b++) {
      float rest = 0;
      for (int64_t j = k; j < width; j++) rest += w[n * apart + j] * x[k * B + b * (width - k) + j - k];
      y[n * stride_n + b * stride_b] = total_of<L>(sums[n][b]) + rest;
    }
}

// At most kRows rows of x, packed, to be multiplied by all of w.
struct Job {
  int64_t rows, width;
  const float *w, *x;
  float* y;
  int64_t stride_n, stride_b;
};

// Rows [begin, end) of w. They are taken from far apart, so that each is followed by the next in memory: what fetches ahead stops
// where it sees a row end.
template <int L, int B>
WPO_INLINE void rows_of(const Job& job, int64_t begin, int64_t end) {
  constexpr int kSums = L == 16 ? 24 : 12;  // that registers hold
  constexpr int N = std::clamp(kSums / B, 1, 4);
  const int64_t each = (end - begin) / N, width = job.width, by = job.stride_n;
  int64_t n = begin;
  for (; n < begin + each; n++)
    products<L, N, B>(width, job.w + n * width, each * width, job.x, job.y + n * by, each * by, job.stride_b);
  for (n += (N - 1) * each; n < end; n++)
    products<L, 1, B>(width, job.w + n * width, 0, job.x, job.y + n * by, 0, job.stride_b);
}

template <int L, int B>
WPO_INLINE void some_rows(const Job& job, int64_t begin, int64_t end) {
  if constexpr (B > 0) job.rows == B ? rows_of<L, B>(job, begin, end) : some_rows<L, B - 1>(job, begin, end);
}

struct Way {
  int64_t lanes;
  void (*some_rows)(const Job&, int64_t, int64_t);
};

#define WPO_WAY(name, target, L, M)                                          \
  target void some_rows_##name(const Job& job, int64_t begin, int64_t end) { \
    some_rows<L, kRows>(job, begin, end);                                    \
  }                                                                          \
  const Way name = {L, some_rows_##name};

WPO_WAYS

// Rows of x by groups of kRows, each laid out as it is read: a vector of every row, the next of each, and what is left.
void pack(int64_t lanes, int64_t rows, int64_t width, const float* x, int64_t stride_row, int64_t stride_value,
          float* packed) {
  for (int64_t first = 0; first < rows; first += kRows)
    for (int64_t k = 0; k < width; k += lanes)
      for (int64_t b = first; b < std::min(first + kRows, rows); b++)
        for (int64_t j = k; j < std::min(k + lanes, width); j++) *packed++ = x[b * stride_row + j * stride_value];
}

// x [rows, width] in strides, w [count, width] -> y, where value n of row b goes to n · stride_n + b · stride_b
void multiply(Run& run, int64_t rows, int64_t width, int64_t count, const float* x, int64_t stride_row,
              int64_t stride_value, const float* w, float* y, int64_t stride_n, int64_t stride_b) {
  const Scratch memory = scratch_of(rows * width);
  if (!run.ok(memory != nullptr, "no memory to multiply in")) return;
  const Way& by = way();
  float* packed = memory.get();
  pack(by.lanes, rows, width, x, stride_row, stride_value, packed);
  parallel(count, rows * width, [=](int64_t begin, int64_t end, int) {
    for (int64_t b = 0; b < rows; b += kRows) {
      const Job job = {std::min(kRows, rows - b), width, w, packed + b * width, y + b * stride_b, stride_n, stride_b};
      by.some_rows(job, begin, end);
    }
  });
}

// x [B, K], w [N, K] -> y [B, N]
void linear_rows(Run& run) {
  const int64_t width = run.width(0), rows = run.rows(0), count = run.rows(1);
  if (!run.ok(run.width(1) == width, "x and w differ in width")) return;
  const float *x = run.in(0), *w = run.in(1);
  if (float* y = run.out(0, {rows, count})) multiply(run, rows, width, count, x, width, 1, w, y, 1, count);
}

// x [B, K], w [heads · D, K], [heads] -> y [heads, D, B]
void linear_rows_to_heads(Run& run) {
  const int64_t width = run.width(0), rows = run.rows(0), count = run.rows(1);
  const int64_t heads = run.size(2) == 1 ? static_cast<int64_t>(run.numbers(2)[0]) : 0;
  const bool fits = run.width(1) == width && heads > 0 && count % heads == 0;
  if (!run.ok(fits, "x and w differ in width, or heads do not fit")) return;
  const float *x = run.in(0), *w = run.in(1);
  if (float* y = run.out(0, {heads, count / heads, rows}))
    multiply(run, rows, width, count, x, width, 1, w, y, rows, 1);
}

// x [heads, D, B], w [N, heads · D] -> y [B, N]
void linear_rows_from_heads(Run& run) {
  const int64_t rows = run.width(0), width = run.rows(0), count = run.rows(1);
  if (!run.ok(run.width(1) == width, "x and w differ in width")) return;
  const float *x = run.in(0), *w = run.in(1);
  if (float* y = run.out(0, {rows, count})) multiply(run, rows, width, count, x, 1, rows, w, y, 1, count);
}

// x [V, H], indices [n], [factor] -> the rows of x there, times the factor [n, H]
void scaled_rows(Run& run) {
  const int64_t width = run.width(0), count = run.rows(0), n = run.size(1);
  const int32_t* indices = run.in<int32_t>(1);
  bool fits = run.size(2) == 1;
  for (int64_t i = 0; fits && i < n; i++) fits = indices[i] >= 0 && indices[i] < count;
  if (!run.ok(fits, "wanted indices below the row count")) return;
  const float *x = run.in(0), factor = run.numbers(2)[0];
  float* y = run.out(0, {n, width});
  if (!y) return;
  parallel(n, width, [=](int64_t a, int64_t b, int) {
    for (int64_t i = a; i < b; i++)
      for (int64_t j = 0; j < width; j++) y[i * width + j] = x[indices[i] * width + j] * factor;
  });
}

}  // namespace

void define_linear() {
  define<linear_rows>("WpoLinearRows", {"x: float", "w: float"}, {"y: float"});
  define<linear_rows_to_heads>("WpoLinearRowsToHeads", {"x: float", "w: float", "heads: int32"}, {"y: float"});
  define<scaled_rows>("WpoScaledRows", {"x: float", "indices: int32", "factor: int32"}, {"y: float"});
  define<linear_rows_from_heads>("WpoLinearRowsFromHeads", {"x: float", "w: float"}, {"y: float"});
}

}  // namespace wpo
