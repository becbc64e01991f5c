// x · wᵀ for a few rows of x, as generation has them: the weight is read once, as fast as memory gives it. A value comes of
// the same sum in the same order however many rows there are beside it.
#include <algorithm>
#include "op.h"
#include "parallel.h"
#include "scratch.h"
#include "vector-math.h"

namespace wpo {
namespace {

typedef float Vector __attribute__((vector_size(4 * kLanes), aligned(4)));
typedef float Quarter __attribute__((vector_size(kLanes), aligned(4)));

constexpr int64_t kRows = 8;  // rows of x at a time
constexpr int64_t kAhead = 1024;  // values of a weight that memory is asked for before they are read

WPO_INLINE float total_of(const Vector& lanes) {
  Quarter q[4];
  std::memcpy(q, &lanes, sizeof q);
  const Quarter t = (q[0] + q[1]) + (q[2] + q[3]);
  return (t[0] + t[1]) + (t[2] + t[3]);
}

// y[n, b] = Σ w[n, ·] x[b, ·] for N rows of w, `apart` values from each other, and B of x, packed.
template <int N, int B>
WPO_INLINE void products(int64_t width, const float* w, int64_t apart, const float* x, float* y, int64_t stride_n,
                         int64_t stride_b) {
  Vector sums[N][B] = {};
  int64_t k = 0;
  for (; k + kLanes <= width; k += kLanes)
#pragma GCC unroll 8
    for (int n = 0; n < N; n++) {
      const float* at = w + n * apart + k;
      __builtin_prefetch(at + kAhead, 0, 2);  // into the second level: the first holds x
      const Vector wk = *reinterpret_cast<const Vector*>(at);
#pragma GCC unroll 8
      for (int b = 0; b < B; b++) sums[n][b] += wk * *reinterpret_cast<const Vector*>(x + k * B + b * kLanes);
    }
  for (int n = 0; n < N; n++)
    for (int b = 0; b < B; b++) {
      float rest = 0;
      for (int64_t j = k; j < width; j++) rest += w[n * apart + j] * x[k * B + b * (width - k) + j - k];
      y[n * stride_n + b * stride_b] = total_of(sums[n][b]) + rest;
    }
}

template <int B>
WPO_INLINE void rows_of(int64_t begin, int64_t end, int64_t width, const float* w, const float* x, float* y,
                        int64_t stride_n, int64_t stride_b) {
  constexpr int N = B <= 4 ? 4 : 3;  // as many sums as registers hold
  // Rows far apart, so that each is followed by the next in memory: what fetches ahead stops where it sees a row end.
  const int64_t each = (end - begin) / N, rest = begin + N * each;
  for (int64_t n = begin; n < begin + each; n++)
    products<N, B>(width, w + n * width, each * width, x, y + n * stride_n, each * stride_n, stride_b);
  for (int64_t n = rest; n < end; n++) products<1, B>(width, w + n * width, 0, x, y + n * stride_n, 0, stride_b);
}

WPO_VECTOR void some_rows(int64_t rows, int64_t begin, int64_t end, int64_t width, const float* w, const float* x,
                          float* y, int64_t stride_n, int64_t stride_b) {
  switch (rows) {
    case 1: return rows_of<1>(begin, end, width, w, x, y, stride_n, stride_b);
    case 2: return rows_of<2>(begin, end, width, w, x, y, stride_n, stride_b);
    case 3: return rows_of<3>(begin, end, width, w, x, y, stride_n, stride_b);
    case 4: return rows_of<4>(begin, end, width, w, x, y, stride_n, stride_b);
    case 5: return rows_of<5>(begin, end, width, w, x, y, stride_n, stride_b);
    case 6: return rows_of<6>(begin, end, width, w, x, y, stride_n, stride_b);
    case 7: return rows_of<7>(begin, end, width, w, x, y, stride_n, stride_b);
    case 8: return rows_of<8>(begin, end, width, w, x, y, stride_n, stride_b);
  }
}

// Rows of x by groups of kRows, each laid out as it is read: 16 values of every row, the next 16, and what is left.
void pack(int64_t rows, int64_t width, const float* x, int64_t stride_row, int64_t stride_value, float* packed) {
  for (int64_t first = 0; first < rows; first += kRows)
    for (int64_t k = 0; k < width; k += kLanes)
      for (int64_t b = first; b < std::min(first + kRows, rows); b++)
        for (int64_t j = k; j < std::min<int64_t>(k + kLanes, width); j++)
          *packed++ = x[b * stride_row + j * stride_value];
}

// x [rows, width] in strides, w [count, width] -> y, where value n of row b goes to n · stride_n + b · stride_b
void multiply(Run& run, int64_t rows, int64_t width, int64_t count, const float* x, int64_t stride_row,
              int64_t stride_value, const float* w, float* y, int64_t stride_n, int64_t stride_b) {
  const Scratch memory = scratch_of(rows * width);
  if (!run.ok(memory != nullptr, "no memory to multiply in")) return;
  float* packed = memory.get();
  pack(rows, width, x, stride_row, stride_value, packed);
  parallel(count, rows * width, [=](int64_t begin, int64_t end, int) {
    for (int64_t b = 0; b < rows; b += kRows)
      some_rows(std::min(kRows, rows - b), begin, end, width, w, packed + b * width, y + b * stride_b, stride_n,
                stride_b);
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
