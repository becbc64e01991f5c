// x · wᵀ for few rows of x, as in generation: the weight is read once, at memory bandwidth. Every value is summed in
// the same order for any number of rows of x.
#include <algorithm>

#include "gemm/checks.h"
#include "gemm/tiles.h"
#include "runtime/operation.h"
#include "runtime/parallel.h"
#include "runtime/scratch.h"

namespace wpo {
namespace {

constexpr int64_t kRows = 8;              // rows of x at a time
constexpr int64_t kPrefetchAhead = 1024;  // values

template <int V>
WPO_INLINE float reduce(const Vector<V>& vector) {
  float sums[V];
  std::memcpy(sums, &vector, sizeof sums);
  for (int half = V / 2; half > 0; half /= 2)
    for (int i = 0; i < half; i++) sums[i] += sums[i + half];
  return sums[0];
}

// y[n, b] = Σ w[n, ·] x[b, ·] for N rows of w, `ldw` values apart, and B packed rows of x.
template <int V, int N, int B, class T>
WPO_INLINE void dot_products(int64_t width, const T* w, int64_t ldw, const float* x, float* y, int64_t stride_n,
                             int64_t stride_b) {
  Vector<V> sums[N][B] = {};
  int64_t k = 0;
  for (; k + V <= width; k += V)
#pragma GCC unroll 8
    for (int n = 0; n < N; n++) {
      const T* at = w + n * ldw + k;
      __builtin_prefetch(at + kPrefetchAhead, 0, 2);  // into the second-level cache: the first holds x
      Vector<V> wk;
      load_vector<V>(at, wk);
#pragma GCC unroll 8
      for (int b = 0; b < B; b++) sums[n][b] += wk * *reinterpret_cast<const Vector<V>*>(x + k * B + b * V);
    }
  for (int n = 0; n < N; n++)
    for (int b = 0; b < B; b++) {
      float rest = 0;
      for (int64_t j = k; j < width; j++) rest += load_float(w + n * ldw + j) * x[k * B + b * (width - k) + j - k];
      y[n * stride_n + b * stride_b] = reduce<V>(sums[n][b]) + rest;
    }
}

// At most kRows packed rows of x, which are multiplied by all rows of w.
struct RowGroup {
  int64_t rows, width;
  const void* w;
  Type w_type;
  Precision precision;
  const float* x;
  float* y;
  int64_t stride_n, stride_b;
};

// Rows [begin, end) of w. The N rows that are multiplied together are far apart, and the next call reads the row
// after each of them. So the hardware prefetcher, which would stop at the end of a row, continues.
template <int V, int B, class T>
WPO_INLINE void multiply_rows(const RowGroup& group, int64_t begin, int64_t end) {
  constexpr int kSums = V == 16 ? 24 : 12;  // vector sums that fit in registers
  constexpr int N = std::clamp(kSums / B, 1, 4);
  const int64_t each = (end - begin) / N, width = group.width, by = group.stride_n;
  const T* w = static_cast<const T*>(group.w);
  int64_t n = begin;
  for (; n < begin + each; n++)
    dot_products<V, N, B>(width, w + n * width, each * width, group.x, group.y + n * by, each * by, group.stride_b);
  for (n += (N - 1) * each; n < end; n++)
    dot_products<V, 1, B>(width, w + n * width, 0, group.x, group.y + n * by, 0, group.stride_b);
}

template <int V, int B, class T>
WPO_INLINE void multiply_group(const RowGroup& group, int64_t begin, int64_t end) {
  if constexpr (B > 0)
    group.rows == B ? multiply_rows<V, B, T>(group, begin, end) : multiply_group<V, B - 1, T>(group, begin, end);
}

struct IsaVariant {
  int64_t vector_width;
  void (*multiply_group)(const RowGroup&, int64_t, int64_t);
};

#define WPO_ISA_VARIANT(name, target, V, M)                                              \
  target void multiply_group_##name(const RowGroup& group, int64_t begin, int64_t end) { \
    if (group.w_type == Type::kBfloat16)                                                 \
      multiply_group<V, kRows, Bf16>(group, begin, end);                                 \
    else if (group.precision == Precision::kBfloat16)                                    \
      multiply_group<V, kRows, RoundedFloat>(group, begin, end);                         \
    else                                                                                 \
      multiply_group<V, kRows, float>(group, begin, end);                                \
  }                                                                                      \
  const IsaVariant name = {V, multiply_group_##name};

WPO_ISA_VARIANTS

// Packs the rows of x in groups of kRows, in the order in which they are read: a vector of every row, then the next
// vector of each, then the values left over.
template <class T>
void pack_groups(int64_t vector_width, int64_t rows, int64_t width, const T* x, int64_t row_stride,
                 int64_t depth_stride, float* packed) {
  for (int64_t first = 0; first < rows; first += kRows)
    for (int64_t k = 0; k < width; k += vector_width)
      for (int64_t b = first; b < std::min(first + kRows, rows); b++)
        for (int64_t j = k; j < std::min(k + vector_width, width); j++)
          *packed++ = load_float(x + b * row_stride + j * depth_stride);
}

// x (input 0) [rows, width] with strides, w (input 1) [count, width] -> y, where value n of row b goes to n · stride_n
// + b · stride_b
void multiply(OpContext& ctx, int64_t rows, int64_t width, int64_t count, int64_t row_stride, int64_t depth_stride,
              float* y, int64_t stride_n, int64_t stride_b) {
  if (rows == 0 || count == 0) return;
  const IsaVariant& isa = variant(selected_isa());
  const Precision precision = ctx.precision();
  const float* x = ctx.input(0);
  TensorView w = ctx.view(1);
  // A compiler may round the sum of the values after the last whole vector in one way or another, depending on w's
  // type.
  if (w.type == Type::kBfloat16 && width % isa.vector_width != 0) w = {const_cast<float*>(ctx.input(1)), w.shape};
  const Scratch memory = allocate_scratch(checked_product(rows, width));
  float* packed = memory.get();
  if (precision == Precision::kBfloat16)
    pack_groups(isa.vector_width, rows, width, reinterpret_cast<const RoundedFloat*>(x), row_stride, depth_stride,
                packed);
  else
    pack_groups(isa.vector_width, rows, width, x, row_stride, depth_stride, packed);
  parallel(count, rows * width, [=, &isa, &w](int64_t begin, int64_t end, int) {
    for (int64_t b = 0; b < rows; b += kRows) {
      const RowGroup group = {std::min(kRows, rows - b), width,    w.data,  w.type, precision, packed + b * width,
                              y + b * stride_b,          stride_n, stride_b};
      isa.multiply_group(group, begin, end);
    }
  });
}

// x [B, K], w [N, K] -> y [B, N]
void linear_rows(OpContext& ctx) {
  const int64_t width = ctx.width(0), rows = ctx.rows(0), count = ctx.rows(1);
  require_equal_widths(width, ctx.width(1));
  float* y = ctx.output(0, {rows, count});
  multiply(ctx, rows, width, count, width, 1, y, 1, count);
}

// x [B, K], w [heads · D, K], [heads] -> y [heads, D, B]
void linear_rows_to_heads(OpContext& ctx) {
  const int64_t width = ctx.width(0), rows = ctx.rows(0), count = ctx.rows(1), heads = read_heads(ctx, 2, count);
  require_equal_widths(width, ctx.width(1));
  float* y = ctx.output(0, {heads, count / heads, rows});
  multiply(ctx, rows, width, count, width, 1, y, rows, 1);
}

// x [heads, D, B], w [N, heads · D] -> y [B, N]
void linear_rows_from_heads(OpContext& ctx) {
  const int64_t rows = ctx.width(0), width = ctx.rows(0), count = ctx.rows(1);
  require_equal_widths(width, ctx.width(1));
  float* y = ctx.output(0, {rows, count});
  multiply(ctx, rows, width, count, 1, rows, y, 1, count);
}

}  // namespace

void register_few_rows() {
  register_kernel<linear_rows>("WpoLinearRows");
  register_kernel<linear_rows_to_heads>("WpoLinearRowsToHeads");
  register_kernel<linear_rows_from_heads>("WpoLinearRowsFromHeads");
}

}  // namespace wpo
