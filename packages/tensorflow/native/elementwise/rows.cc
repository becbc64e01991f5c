// Sums in place, and rows or columns by their indices.
#include <algorithm>

#include "elementwise/checks.h"
#include "elementwise/pieces.h"
#include "runtime/operation.h"
#include "runtime/parallel.h"
#include "runtime/vector-math.h"

namespace wpo {
namespace {

WPO_TARGET_CLONES void add_values(int64_t begin, int64_t end, float* into, const float* x) {
  for (int64_t j = begin; j < end; j++) into[j] += x[j];
}

WPO_TARGET_CLONES void add_row(int64_t h, float* into, const float* x) {
  for (int64_t j = 0; j < h; j++) into[j] += x[j];
}

// into (changed), x -> done []
void add(OpContext& ctx) {
  require_add(ctx);
  float* into = ctx.changed_input(0);
  const float* x = ctx.input(1);
  parallel_values(ctx.size(0), 2, [=](int64_t a, int64_t b) { add_values(a, b, into, x); });
  *ctx.output_done() = 0;
}

// Adds row i of x to row indices[i] of `into`, in this order: the same bits in every run.
void add_rows(int64_t n, int64_t h, const int32_t* indices, const float* x, float* into) {
  for (int64_t i = 0; i < n; i++) add_row(h, into + indices[i] * h, x + i * h);
}

// into [V, H] (changed), indices [n], x [n, H] -> done []
void add_rows_in_place(OpContext& ctx) {
  require_added_rows(ctx, 1, ctx.rows(0), ctx.width(0));
  add_rows(ctx.size(1), ctx.width(0), ctx.input<int32_t>(1), ctx.input(2), ctx.changed_input(0));
  *ctx.output_done() = 0;
}

// indices [n], x [n, H], [V] -> zeros [V, H] with the rows added
void spread_rows(OpContext& ctx) {
  const int64_t count = read_spread_rows(ctx), h = ctx.width(1);
  float* y = ctx.output(0, {count, h});
  std::fill_n(y, count * h, 0.0f);
  add_rows(ctx.size(0), h, ctx.input<int32_t>(0), ctx.input(1), y);
}

template <class T>
void scale_rows(OpContext& ctx, float factor) {
  const int64_t width = ctx.width(0), n = ctx.size(1);
  const int32_t* indices = ctx.input<int32_t>(1);
  const T* x = ctx.input<T>(0);
  float* y = ctx.output(0, {n, width});
  parallel(n, width, [=](int64_t a, int64_t b, int) {
    for (int64_t i = a; i < b; i++)
      for (int64_t j = 0; j < width; j++) y[i * width + j] = load_float(x + indices[i] * width + j) * factor;
  });
}

// x [V, H], indices [n], [factor] -> these rows of x times the factor [n, H]
void scaled_rows(OpContext& ctx) {
  const float factor = read_scaled_rows(ctx);
  ctx.view(0).type == Type::kFloat32 ? scale_rows<float>(ctx, factor) : scale_rows<Bf16>(ctx, factor);
}

// into [K, D, C] (changed), columns [n], values [K, D, n] -> done []
void set_columns(OpContext& ctx) {
  require_set_columns(ctx);
  const int64_t count = ctx.width(0), n = ctx.size(1), rows = ctx.rows(0);
  const int32_t* columns = ctx.input<int32_t>(1);
  float* into = ctx.changed_input(0);
  const float* values = ctx.input(2);
  parallel(n == 0 ? 0 : rows, n, [=](int64_t a, int64_t b, int) {
    for (int64_t row = a; row < b; row++)
      for (int64_t i = 0; i < n; i++) into[row * count + columns[i]] = values[row * n + i];
  });
  *ctx.output_done() = 0;
}

// The bits of float32 values -> the values. On a GPU the copy is queued behind earlier work. On the CPU only tests call
// it.
void floats(OpContext& ctx) { std::copy_n(ctx.input(0), ctx.size(0), ctx.output(0, ctx.shape(0))); }

}  // namespace

void register_rows() {
  register_kernel<add>("WpoAdd");
  register_kernel<add_rows_in_place>("WpoAddRows");
  register_kernel<spread_rows>("WpoSpreadRows");
  register_kernel<scaled_rows>("WpoScaledRows");
  register_kernel<set_columns>("WpoSetColumns");
  register_kernel<floats>("WpoFloats");
}

}  // namespace wpo
