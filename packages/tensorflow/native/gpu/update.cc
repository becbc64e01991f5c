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

// Rows of one index are added one after the other, in the order given: the same bits at every run. x is input `from`.
void add_rows(GpuRun& run, int from, int64_t count, int64_t h, float* into) {
  const int64_t n = run.size(from - 1);
  const int32_t* indices = run.in<int32_t>(from - 1);
  if (!run.ok(run.size(from) == n * h && below(indices, n, count),
              "wanted a row of the same width for each index, and indices below the row count"))
    return;
  std::map<int32_t, std::vector<int32_t>> by_row;
  for (int32_t i = 0; i < n; i++) by_row[indices[i]].push_back(i);
  const int64_t distinct = by_row.size();
  std::vector<int32_t> rows, starts, order;
  for (const auto& [row, sources] : by_row) {
    rows.push_back(row);
    starts.push_back(static_cast<int32_t>(order.size()));
    order.insert(order.end(), sources.begin(), sources.end());
  }
  starts.push_back(static_cast<int32_t>(n));
  const float* x = run.in(from);
  run.by_row("add_rows", distinct, into, run.upload(rows), run.upload(starts), run.upload(order), x, h);
}

void add_rows_in_place(GpuRun& run) {
  add_rows(run, 2, run.rows(0), run.width(0), run.in(0));
  run.out(0, {});
}

void spread_rows(GpuRun& run) {
  const int64_t h = run.width(1), count = run.size(2) == 1 ? *run.in<int32_t>(2) : -1;
  if (!run.ok(count >= 0, "wanted one row count")) return;
  float* y = run.out(0, {count, h});
  if (!y) return;
  run.device().zero(y, count * h);
  add_rows(run, 1, count, h, y);
}

void floats(GpuRun& run) {
  float* y = run.out(0, run.shape(0));
  if (y && run.size(0) > 0) run.device().copy_in(y, run.in(0), run.size(0) * sizeof(float));
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

// How blocks go through tensors in one launch, `each` values of one a block: where each tensor's blocks begin, and its size.
struct Blocks {
  int64_t each;
  std::vector<int32_t> first = {0};
  std::vector<int64_t> sizes;
  void add(int64_t size) {
    first.push_back(first.back() + static_cast<int32_t>((size + each - 1) / each));
    sizes.push_back(size);
  }
};

void square_sums(GpuRun& run) {
  float* y = run.out(0, {run.count()});
  if (!y) return;
  Blocks blocks = {64 * platform.threads};
  std::vector<float*> tensors;
  for (int i = 0; i < run.count(); i++) blocks.add(run.size(i)), tensors.push_back(run.in(i));
  const int32_t* first = run.upload(blocks.first);
  double* sums = run.scratch<double>(blocks.first.back());
  run.by_row("square_sums", blocks.first.back(), run.upload(tensors), first, run.upload(blocks.sizes), sums, run.count(), blocks.each);
  run.by_row("sum_doubles", run.count(), static_cast<const double*>(sums), first, y);
}

void adamw(GpuRun& run) {
  bool fits = run.size(0) == 7 && run.count() % 4 == 1;
  for (int i = 1; fits && i < run.count(); i++) fits = run.size(i) == run.size(i - (i - 1) % 4);
  if (!run.ok(fits, "wanted seven numbers, and four tensors of one size for each parameter")) return;
  const float* a = run.numbers(0);
  Blocks blocks = {4 * platform.threads};
  std::vector<float*> tensors;
  for (int i = 1; i < run.count(); i++) tensors.push_back(run.in(i));
  for (int i = 1; i < run.count(); i += 4) blocks.add(run.size(i));
  run.by_row("adamw", blocks.first.back(), run.upload(tensors), run.upload(blocks.first), run.upload(blocks.sizes),
             static_cast<int>(blocks.sizes.size()), a[0], a[1], a[2], a[3], a[4], a[5], a[6], blocks.each);
  run.out(0, {});
}

}  // namespace

void define_gpu_update() {
  define_on_gpu<add>("WpoAdd", {"into: float", "x: float"}, {"done: float"});
  define_on_gpu<add_rows_in_place>("WpoAddRows", {"into: float", "indices: int32", "x: float"}, {"done: float"});
  define_on_gpu<spread_rows>("WpoSpreadRows", {"indices: int32", "x: float", "count: int32"}, {"y: float"});
  define_on_gpu<floats>("WpoFloats", {"bits: int32"}, {"values: float"});
  define_on_gpu<scaled_rows>("WpoScaledRows", {"x: float", "indices: int32", "factor: int32"}, {"y: float"});
  define_on_gpu<set_columns>("WpoSetColumns", {"into: float", "columns: int32", "values: float"}, {"done: float"});
  define_on_gpu<square_sums>("WpoSquareSums", {"x: N * float"}, {"y: float"});
  define_on_gpu<adamw>("WpoAdamW", {"how: int32", "tensors: N * float"}, {"done: float"});
}

}  // namespace wpo
