// Sums in place, and rows or columns by their indices. Inputs and outputs as in elementwise/rows.cc.
#include <map>
#include <vector>

#include "elementwise/checks.h"
#include "gpu/operation.h"

namespace wpo {
namespace {

void add(GpuContext& ctx) {
  require_add(ctx);
  float* into = ctx.changed_input(0);
  const float* x = ctx.input(1);
  ctx.launch_values("add", ctx.size(0), into, x);
  ctx.output_done();
}

// Adds row i of x to row indices[i] of `into`. Rows of one index are added one after the other: the same bits in every
// run.
void add_rows(GpuContext& ctx, int64_t n, int64_t h, const int32_t* indices, const float* x, float* into) {
  std::map<int32_t, std::vector<int32_t>> by_row;
  for (int64_t i = 0; i < n; i++) by_row[indices[i]].push_back(static_cast<int32_t>(i));
  std::vector<int32_t> rows, starts, order;
  for (const auto& [row, sources] : by_row) {
    rows.push_back(row);
    starts.push_back(static_cast<int32_t>(order.size()));
    order.insert(order.end(), sources.begin(), sources.end());
  }
  starts.push_back(static_cast<int32_t>(n));
  ctx.launch_rows("add_rows", static_cast<int64_t>(rows.size()), into, ctx.upload(rows), ctx.upload(starts),
                  ctx.upload(order), x, h);
}

void add_rows_in_place(GpuContext& ctx) {
  require_added_rows(ctx, 1, ctx.rows(0), ctx.width(0));
  add_rows(ctx, ctx.size(1), ctx.width(0), ctx.input<int32_t>(1), ctx.input(2), ctx.changed_input(0));
  ctx.output_done();
}

void spread_rows(GpuContext& ctx) {
  const int64_t count = read_spread_rows(ctx), h = ctx.width(1);
  float* y = ctx.output(0, {count, h});
  ctx.device().zero(y, count * h);
  add_rows(ctx, ctx.size(0), h, ctx.input<int32_t>(0), ctx.input(1), y);
}

void scaled_rows(GpuContext& ctx) {
  const float factor = read_scaled_rows(ctx);
  const int64_t h = ctx.width(0), n = ctx.size(1);
  float* y = ctx.output(0, {n, h});
  const int32_t* rows = ctx.upload(ctx.input<int32_t>(1), n);
  if (ctx.view(0).type == Type::kFloat32)
    ctx.launch_rows("scaled_rows", n, ctx.input(0), rows, y, h, factor);
  else
    ctx.launch_rows("scaled_rows_bf16", n, ctx.input<Bf16>(0), rows, y, h, factor);
}

void set_columns(GpuContext& ctx) {
  require_set_columns(ctx);
  const int64_t count = ctx.width(0), n = ctx.size(1), rows = ctx.rows(0);
  float* into = ctx.changed_input(0);
  const float* values = ctx.input(2);
  ctx.launch_values("set_columns", rows * n, into, ctx.upload(ctx.input<int32_t>(1), n), values, count, n);
  ctx.output_done();
}

void floats(GpuContext& ctx) {
  float* y = ctx.output(0, ctx.shape(0));
  if (ctx.size(0) > 0) ctx.device().copy_in(y, ctx.input(0), static_cast<size_t>(ctx.size(0)) * sizeof(float));
}

}  // namespace

void register_gpu_rows() {
  register_gpu_kernel<add>("WpoAdd");
  register_gpu_kernel<add_rows_in_place>("WpoAddRows");
  register_gpu_kernel<spread_rows>("WpoSpreadRows");
  register_gpu_kernel<scaled_rows>("WpoScaledRows");
  register_gpu_kernel<set_columns>("WpoSetColumns");
  register_gpu_kernel<floats>("WpoFloats");
}

}  // namespace wpo
