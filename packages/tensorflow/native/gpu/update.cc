// Sums and the optimizer's update in place, and rows by their indices. As the processor's (update.cc, cache.cc, linear.cc).
#include <algorithm>
#include <map>
#include <vector>
#include "run.h"

namespace wpo {
namespace {

bool below(const int32_t* indices, int64_t n, int64_t count) {
  return std::all_of(indices, indices + n, [=](int32_t i) { return i >= 0 && i < count; });
}

void add(GpuRun& run) {
  if (!run.ok(run.size(0) == run.size(1), "what is added differs in size")) return;
  float* into = run.in(0);
  const float* x = run.in(1);
  run.by_value("add", run.size(0), into, x);
  run.out(0, {});
}

// Rows of one index are added one after the other, in the order given: the same bits at every run.
void add_rows(GpuRun& run) {
  const int64_t h = run.width(0), n = run.size(1);
  const int32_t* indices = run.in<int32_t>(1);
  if (!run.ok(run.size(2) == n * h && below(indices, n, run.rows(0)),
              "wanted a row of the same width for each index, and indices below the row count"))
    return;
  std::map<int32_t, std::vector<int32_t>> from;
  for (int32_t i = 0; i < n; i++) from[indices[i]].push_back(i);
  const int64_t distinct = from.size();
  std::vector<int32_t> rows, starts, order;
  for (const auto& [row, sources] : from) {
    rows.push_back(row);
    starts.push_back(static_cast<int32_t>(order.size()));
    order.insert(order.end(), sources.begin(), sources.end());
  }
  starts.push_back(static_cast<int32_t>(n));
  float* into = run.in(0);
  const float* x = run.in(2);
  run.by_row("add_rows", distinct, into, run.upload(rows.data(), distinct),
           run.upload(starts.data(), distinct + 1), run.upload(order.data(), n), x, h);
  run.out(0, {});
}

void scaled_rows(GpuRun& run) {
  const int64_t h = run.width(0), n = run.size(1);
  const int32_t* indices = run.in<int32_t>(1);
  if (!run.ok(run.size(2) == 1 && below(indices, n, run.rows(0)), "wanted indices below the row count")) return;
  const float* x = run.in(0);
  float* y = run.out(0, {n, h});
  if (y) run.by_row("scaled_rows", n, x, run.upload(indices, n), y, h, run.numbers(2)[0]);
}

void set_columns(GpuRun& run) {
  const int64_t count = run.width(0), n = run.size(1), rows = run.rows(0);
  const int32_t* columns = run.in<int32_t>(1);
  if (!run.ok(run.size(2) == rows * n && below(columns, n, count),
              "wanted a column of values for each index, and indices below the column count"))
    return;
  float* into = run.in(0);
  const float* values = run.in(2);
  run.by_value("set_columns", rows * n, into, run.upload(columns, n), values, count, n);
  run.out(0, {});
}

void square_sum(GpuRun& run) {
  const int64_t n = run.size(0), pieces = std::min<int64_t>(512, run.blocks_of(n));
  const float* x = run.in(0);
  float* y = run.out(0, {});
  if (!y) return;
  double* sums = run.scratch<double>(pieces);
  run.by_row("square_sums", pieces, x, sums, n);
  run.by_row("sum_doubles", 1, static_cast<const double*>(sums), y, pieces);
}

void adamw(GpuRun& run) {
  const int64_t n = run.size(0);
  if (!run.ok(run.size(1) == n && run.size(2) == n && run.size(3) == n && run.size(4) == 7, "sizes differ")) return;
  float *p = run.in(0), *m = run.in(1), *v = run.in(2);
  const float *g = run.in(3), *a = run.numbers(4);
  const int64_t blocks = run.blocks_of(n);
  run.by_row("adamw", blocks, p, m, v, g, n, a[0], a[1], a[2], a[3], a[4], a[5], a[6]);
  run.out(0, {});
}

}  // namespace

void define_gpu_update() {
  define_on_gpu<add>("WpoAdd");
  define_on_gpu<add_rows>("WpoAddRows", {"indices"});
  define_on_gpu<scaled_rows>("WpoScaledRows", {"indices", "factor"});
  define_on_gpu<set_columns>("WpoSetColumns", {"columns"});
  define_on_gpu<square_sum>("WpoSquareSum");
  define_on_gpu<adamw>("WpoAdamW", {"how"});
}

}  // namespace wpo
