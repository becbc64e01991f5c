#include "thirds.h"
#include <algorithm>

namespace wpo {
namespace {

// Which third of a and of b meet in each of the six products, the smallest first: 2·0, 0·2, 1·1, 1·0, 0·1, 0·0.
constexpr int kProducts = 6, kOfA = 0x001102, kOfB = 0x010120;

constexpr int64_t kAligned = 8;  // values that matrix units read at once
int64_t rounded(int64_t count) { return (count + kAligned - 1) / kAligned * kAligned; }

// A matrix laid out for products of `piece` depths.
struct Laid {
  std::shared_ptr<void> memory;
  int64_t row, depth_step;  // values from a depth to the next
  const Half* from(int64_t depth) const { return static_cast<const Half*>(memory.get()) + kProducts * depth * depth_step; }
};

// `lines` of `values`, `row` apart; either are the depth.
Laid lay(GpuRun& run, const float* x, int64_t row, int64_t lines, int64_t values, bool lines_are_depth, int64_t piece, int order) {
  const int64_t width = lines_are_depth ? values : kProducts * values, height = lines_are_depth ? kProducts * lines : lines;
  const int64_t to_row = rounded(width);
  const Laid laid = {run.memory(height * to_row * sizeof(Half)), to_row, lines_are_depth ? to_row : 1};
  run.by_value("thirds", lines * (rounded(values) / kAligned), x, static_cast<Half*>(laid.memory.get()), static_cast<int>(lines),
               static_cast<int>(values), row, to_row, static_cast<int>(piece), static_cast<int>(lines_are_depth), order);
  return laid;
}

void by_thirds(GpuRun& run, const Products<float>& p, int64_t most_depth) {
  const int64_t pieces = (p.k + most_depth - 1) / most_depth, piece = rounded((p.k + pieces - 1) / pieces);
  const Laid a = p.turn_a ? lay(run, p.a, p.a_row, p.k, p.m, true, piece, kOfA)
                          : lay(run, p.a, p.a_row, p.m, p.k, false, piece, kOfA);
  const Laid b = p.turn_b ? lay(run, p.b, p.b_row, p.n, p.k, false, piece, kOfB)
                          : lay(run, p.b, p.b_row, p.k, p.n, true, piece, kOfB);
  for (int64_t at = 0; at < p.k; at += piece)
    run.device().multiply(Products<Half>{p.turn_a, p.turn_b, p.m, p.n, kProducts * std::min(piece, p.k - at), a.from(at), a.row,
                                         0, b.from(at), b.row, 0, at > 0 ? 1.0f : p.beta, p.c, p.c_row, 0, 1});
}

}  // namespace

void multiply(GpuRun& run, const Products<float>& p) {
  const ThirdsLimits limits = run.device().thirds();
  const bool few = std::min({p.m, p.n, p.k}) < limits.side || p.m * p.n * p.k < limits.multiplications;
  if (p.count > 1 || few) return run.device().multiply(p);
  if (std::max(p.m, p.n) * p.k <= limits.values) return by_thirds(run, p, limits.depth);
  // in halves of the longest side, so that memory is bounded
  Products<float> first = p, second = p;
  if (p.m >= std::max(p.n, p.k)) {
    first.m = p.m / 2, second.m = p.m - first.m;
    second.a += first.m * (p.turn_a ? 1 : p.a_row);
    second.c += first.m * p.c_row;
  } else if (p.n >= p.k) {
    first.n = p.n / 2, second.n = p.n - first.n;
    second.b += first.n * (p.turn_b ? p.b_row : 1);
    second.c += first.n;
  } else {
    first.k = p.k / 2, second.k = p.k - first.k;
    second.a += first.k * (p.turn_a ? p.a_row : 1);
    second.b += first.k * (p.turn_b ? 1 : p.b_row);
    second.beta = 1;
  }
  multiply(run, first);
  multiply(run, second);
}

}  // namespace wpo
