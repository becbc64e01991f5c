// Matrix products, by cuBLAS. Inputs and outputs as in gemm/ (gemm.cc, few-rows.cc).
#include "gemm/checks.h"
#include "gpu/bf16x3.h"

namespace wpo {
namespace {

// A matrix as it is stored, read transposed or not.
struct Matrix {
  const float* data;
  int64_t stored_rows, stored_columns;
  bool transposed;
  int64_t rows() const { return transposed ? stored_columns : stored_rows; }
  int64_t columns() const { return transposed ? stored_rows : stored_columns; }
};

void multiply(GpuContext& ctx, const Matrix& a, const Matrix& b, const Shape& shape) {
  require(a.columns() == b.rows(), "expected matrices whose inner sizes are equal, found ", a.rows(), " x ",
          a.columns(), " by ", b.rows(), " x ", b.columns());
  const int64_t m = a.rows(), n = b.columns(), k = a.columns();
  float* c = ctx.output(0, shape);
  if (m * n == 0) return;
  if (k == 0) return ctx.device().zero(c, m * n);
  multiply(ctx, {a.transposed, b.transposed, m, n, k, a.data, a.stored_columns, 0, b.data, b.stored_columns, 0, 0.0f, c,
                 n, 0, 1});
}

// Input i, all dimensions but the last as rows.
Matrix matrix(GpuContext& ctx, int i, bool transposed = false) {
  return {ctx.input(i), ctx.rows(i), ctx.width(i), transposed};
}

template <bool TransposeA, bool TransposeB>
void product(GpuContext& ctx) {
  require_matrices(ctx, 2);
  const Matrix a = matrix(ctx, 0, TransposeA), b = matrix(ctx, 1, TransposeB);
  multiply(ctx, a, b, {a.rows(), b.columns()});
}

// gelu(gate) · up of inputs `gate` and `gate` + 1.
const float* gated(GpuContext& ctx, int gate) {
  require_gate_and_up(ctx, gate);
  float* y = ctx.scratch(ctx.size(gate));
  const float *g = ctx.input(gate), *u = ctx.input(gate + 1);
  ctx.launch_values("geglu", ctx.size(gate), g, u, y);
  return y;
}

void gated_product(GpuContext& ctx) {
  require_matrices(ctx, 3);
  const Matrix a = {gated(ctx, 0), ctx.rows(0), ctx.width(0), false}, w = matrix(ctx, 2, true);
  multiply(ctx, a, w, {a.rows(), w.columns()});
}

void gated_product_gradient(GpuContext& ctx) {
  require_matrices(ctx, 3);
  const Matrix dy = matrix(ctx, 0, true), b = {gated(ctx, 1), ctx.rows(1), ctx.width(1), false};
  multiply(ctx, dy, b, {dy.rows(), b.columns()});
}

void linear_rows(GpuContext& ctx) {
  require_equal_widths(ctx.width(0), ctx.width(1));
  multiply(ctx, matrix(ctx, 0), matrix(ctx, 1, true), {ctx.rows(0), ctx.rows(1)});
}

void linear_rows_to_heads(GpuContext& ctx) {
  require_equal_widths(ctx.width(0), ctx.width(1));
  const int64_t count = ctx.rows(1), heads = read_heads(ctx, 2, count);
  multiply(ctx, matrix(ctx, 1), matrix(ctx, 0, true), {heads, count / heads, ctx.rows(0)});
}

void linear_rows_from_heads(GpuContext& ctx) {
  require_equal_widths(ctx.rows(0), ctx.width(1));
  multiply(ctx, matrix(ctx, 0, true), matrix(ctx, 1, true), {ctx.width(0), ctx.rows(1)});
}

}  // namespace

void register_gpu_gemm() {
  register_gpu_kernel<product<false, false>>("WpoProduct");
  register_gpu_kernel<product<false, true>>("WpoProductNT");
  register_gpu_kernel<product<true, false>>("WpoProductTN");
  register_gpu_kernel<product<true, true>>("WpoProductTT");
  register_gpu_kernel<gated_product>("WpoGatedProduct");
  register_gpu_kernel<gated_product_gradient>("WpoGatedProductGrad");
  register_gpu_kernel<linear_rows>("WpoLinearRows");
  register_gpu_kernel<linear_rows_to_heads>("WpoLinearRowsToHeads");
  register_gpu_kernel<linear_rows_from_heads>("WpoLinearRowsFromHeads");
}

}  // namespace wpo
