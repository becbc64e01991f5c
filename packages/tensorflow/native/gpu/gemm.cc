// Matrix products, by cuBLAS. Inputs and outputs as in gemm/ (gemm.cc, few-rows.cc).
#include "gemm/checks.h"
#include "gpu/bf16x3.h"

namespace wpo {
namespace {

// A matrix as it is stored, read transposed or not.
struct Matrix {
  const void* data;
  Type type;
  int64_t stored_rows, stored_columns;
  bool transposed;
  int64_t rows() const { return transposed ? stored_columns : stored_rows; }
  int64_t columns() const { return transposed ? stored_rows : stored_columns; }
};

// Makes the product, of shape `shape` or, without one, adds it to input 0.
void multiply(GpuContext& ctx, const Matrix& a, const Matrix& b, const Shape* shape) {
  require_equal_depths({a.rows(), a.columns()}, {b.rows(), b.columns()});
  const int64_t m = a.rows(), n = b.columns(), k = a.columns();
  if (!shape) require_product_size(ctx, m, n);
  float* c = shape ? ctx.output(0, *shape) : ctx.changed_input(0);
  if (!shape) ctx.output_done();
  if (m * n == 0) return;
  if (k > 0)
    multiply(ctx, {a.transposed,
                   b.transposed,
                   m,
                   n,
                   k,
                   {a.data, a.type},
                   a.stored_columns,
                   {b.data, b.type},
                   b.stored_columns,
                   shape ? 0.0f : 1.0f,
                   c,
                   n});
  else if (shape)
    ctx.device().zero(c, m * n);
}

void make_product(GpuContext& ctx, const Matrix& a, const Matrix& b, const Shape& shape) {
  multiply(ctx, a, b, &shape);
}

// Input i, all dimensions but the last as rows.
Matrix matrix(GpuContext& ctx, int i, bool transposed = false) {
  return {ctx.view(i).data, ctx.view(i).type, ctx.rows(i), ctx.width(i), transposed};
}

template <bool TransposeA, bool TransposeB>
void product(GpuContext& ctx) {
  require_matrices(ctx, 0, 2);
  const Matrix a = matrix(ctx, 0, TransposeA), b = matrix(ctx, 1, TransposeB);
  make_product(ctx, a, b, {a.rows(), b.columns()});
}

template <bool TransposeA, bool TransposeB>
void add_product(GpuContext& ctx) {
  require_matrices(ctx, 1, 2);
  multiply(ctx, matrix(ctx, 1, TransposeA), matrix(ctx, 2, TransposeB), nullptr);
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
  require_matrices(ctx, 0, 3);
  const Matrix a = {gated(ctx, 0), Type::kFloat32, ctx.rows(0), ctx.width(0), false}, w = matrix(ctx, 2, true);
  make_product(ctx, a, w, {a.rows(), w.columns()});
}

void gated_product_gradient(GpuContext& ctx) {
  require_matrices(ctx, 0, 3);
  const Matrix dy = matrix(ctx, 0, true), b = {gated(ctx, 1), Type::kFloat32, ctx.rows(1), ctx.width(1), false};
  make_product(ctx, dy, b, {dy.rows(), b.columns()});
}

void add_gated_product_gradient(GpuContext& ctx) {
  require_matrices(ctx, 1, 3);
  multiply(ctx, matrix(ctx, 1, true), {gated(ctx, 2), Type::kFloat32, ctx.rows(2), ctx.width(2), false}, nullptr);
}

void linear_rows(GpuContext& ctx) {
  require_equal_widths(ctx.width(0), ctx.width(1));
  make_product(ctx, matrix(ctx, 0), matrix(ctx, 1, true), {ctx.rows(0), ctx.rows(1)});
}

void linear_rows_to_heads(GpuContext& ctx) {
  require_equal_widths(ctx.width(0), ctx.width(1));
  const int64_t count = ctx.rows(1), heads = read_heads(ctx, 2, count);
  make_product(ctx, matrix(ctx, 1), matrix(ctx, 0, true), {heads, count / heads, ctx.rows(0)});
}

void linear_rows_from_heads(GpuContext& ctx) {
  require_equal_widths(ctx.rows(0), ctx.width(1));
  make_product(ctx, matrix(ctx, 0, true), matrix(ctx, 1, true), {ctx.width(0), ctx.rows(1)});
}

}  // namespace

void register_gpu_gemm() {
  register_gpu_kernel<product<false, false>>("WpoProduct");
  register_gpu_kernel<product<false, true>>("WpoProductNT");
  register_gpu_kernel<product<true, false>>("WpoProductTN");
  register_gpu_kernel<product<true, true>>("WpoProductTT");
  register_gpu_kernel<gated_product>("WpoGatedProduct");
  register_gpu_kernel<gated_product_gradient>("WpoGatedProductGrad");
  register_gpu_kernel<add_product<false, false>>("WpoAddProduct");
  register_gpu_kernel<add_product<false, true>>("WpoAddProductNT");
  register_gpu_kernel<add_product<true, false>>("WpoAddProductTN");
  register_gpu_kernel<add_product<true, true>>("WpoAddProductTT");
  register_gpu_kernel<add_gated_product_gradient>("WpoAddGatedProductGrad");
  register_gpu_kernel<linear_rows>("WpoLinearRows");
  register_gpu_kernel<linear_rows_to_heads>("WpoLinearRowsToHeads");
  register_gpu_kernel<linear_rows_from_heads>("WpoLinearRowsFromHeads");
}

}  // namespace wpo
