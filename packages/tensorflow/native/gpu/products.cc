// Matrix products, by the vendor's library. As the processor's (product.cc, linear.cc).
#include "thirds.h"

namespace wpo {
namespace {

// A matrix as it lies, read turned or not.
struct Operand {
  const float* data;
  int64_t rows, columns;
  bool turned;
  int64_t height() const { return turned ? columns : rows; }
  int64_t width() const { return turned ? rows : columns; }
};

void multiply(GpuRun& run, const Operand& a, const Operand& b, const Shape& shape) {
  if (!run.ok(a.width() == b.height(), "the matrices do not fit")) return;
  const int64_t m = a.height(), n = b.width(), k = a.width();
  float* c = run.out(0, shape);
  if (!c || m * n == 0) return;
  if (k == 0) return run.device().zero(c, m * n);
  multiply(run, {a.turned, b.turned, m, n, k, a.data, a.columns, 0, b.data, b.columns, 0, 0.0f, c, n, 0, 1});
}

// Input i, all dimensions but the last as rows.
Operand operand(GpuRun& run, int i, bool turned = false) { return {run.in(i), run.rows(i), run.width(i), turned}; }

bool matrices(GpuRun& run, int count) {
  bool fits = true;
  for (int i = 0; i < count; i++) fits = fits && run.shape(i).size() >= 2;
  return run.ok(fits, "wanted matrices");
}

template <bool TurnedA, bool TurnedB>
void product(GpuRun& run) {
  if (!matrices(run, 2)) return;
  const Operand a = operand(run, 0, TurnedA), b = operand(run, 1, TurnedB);
  multiply(run, a, b, {a.height(), b.width()});
}

const float* gated(GpuRun& run, int gate, int up) {
  float* y = run.scratch(run.size(gate));
  const float *g = run.in(gate), *u = run.in(up);
  run.by_value("geglu", run.size(gate), g, u, y);
  return y;
}

void gated_product(GpuRun& run) {
  if (!matrices(run, 3) || !run.ok(run.shape(0) == run.shape(1), "gate and up differ in shape")) return;
  const Operand a = {gated(run, 0, 1), run.rows(0), run.width(0), false}, w = operand(run, 2, true);
  multiply(run, a, w, {a.rows, w.rows});
}

void gated_product_gradient(GpuRun& run) {
  if (!matrices(run, 3) || !run.ok(run.shape(1) == run.shape(2), "gate and up differ in shape")) return;
  const Operand dy = operand(run, 0, true), b = {gated(run, 1, 2), run.rows(1), run.width(1), false};
  multiply(run, dy, b, {dy.columns, b.columns});
}

void linear_rows(GpuRun& run) {
  if (!run.ok(run.width(0) == run.width(1), "x and w differ in width")) return;
  multiply(run, operand(run, 0), operand(run, 1, true), {run.rows(0), run.rows(1)});
}

void linear_rows_to_heads(GpuRun& run) {
  const int64_t count = run.rows(1), heads = run.size(2) == 1 ? static_cast<int64_t>(run.numbers(2)[0]) : 0;
  const bool fits = run.width(0) == run.width(1) && heads > 0 && count % heads == 0;
  if (!run.ok(fits, "x and w differ in width, or heads do not fit")) return;
  multiply(run, operand(run, 1), operand(run, 0, true), {heads, count / heads, run.rows(0)});
}

void linear_rows_from_heads(GpuRun& run) {
  if (!run.ok(run.rows(0) == run.width(1), "x and w differ in width")) return;
  multiply(run, operand(run, 0, true), operand(run, 1, true), {run.width(0), run.rows(1)});
}

}  // namespace

void define_gpu_products() {
  define_on_gpu<product<false, false>>("WpoProduct", {"a: float", "b: float"}, {"c: float"});
  define_on_gpu<product<false, true>>("WpoProductNT", {"a: float", "b: float"}, {"c: float"});
  define_on_gpu<product<true, false>>("WpoProductTN", {"a: float", "b: float"}, {"c: float"});
  define_on_gpu<product<true, true>>("WpoProductTT", {"a: float", "b: float"}, {"c: float"});
  define_on_gpu<gated_product>("WpoGatedProduct", {"gate: float", "up: float", "w: float"}, {"y: float"});
  define_on_gpu<gated_product_gradient>("WpoGatedProductGrad", {"dy: float", "gate: float", "up: float"}, {"dw: float"});
  define_on_gpu<linear_rows>("WpoLinearRows", {"x: float", "w: float"}, {"y: float"});
  define_on_gpu<linear_rows_to_heads>("WpoLinearRowsToHeads", {"x: float", "w: float", "heads: int32"}, {"y: float"});
  define_on_gpu<linear_rows_from_heads>("WpoLinearRowsFromHeads", {"x: float", "w: float"}, {"y: float"});
}

}  // namespace wpo
