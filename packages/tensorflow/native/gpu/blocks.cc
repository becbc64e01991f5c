// What a block does between its products: norms, rotation and GeGLU. What each is given and gives is said beside the
// processor's (norm.cc, rope.cc, geglu.cc).
#include <algorithm>
#include "run.h"

namespace wpo {
namespace {

void norm(GpuRun& run) {
  const int64_t n = run.rows(0), h = run.width(0);
  const bool added = run.size(2) == 2 && run.numbers(2)[1] != 0;
  if (!run.ok(run.size(1) == h && run.size(2) == 2 && (!added || run.size(3) == n * h), "w or residual does not fit x")) return;
  const float *x = run.in(0), *w = run.in(1), *residual = added ? run.in(3) : nullptr;
  float *y = run.out(0, run.shape(0)), *inverse = run.out(1, {n, 1});
  if (y && inverse) run.by_row("rms_norm", n, x, w, residual, y, inverse, h, run.numbers(2)[0]);
}

void norm_gradient(GpuRun& run) {
  const int64_t n = run.rows(1), h = run.width(1);
  if (!run.ok(run.size(0) == n * h && run.size(2) == n && run.size(3) == h, "dy, r or w does not fit x")) return;
  const float *dy = run.in(0), *x = run.in(1), *inverse = run.in(2), *w = run.in(3);
  float *dx = run.out(0, run.shape(1)), *dw = run.out(1, {h});
  if (!dx || !dw) return;
  run.by_row("rms_norm_dx", n, dy, x, inverse, w, dx, h);
  const int64_t pieces = std::min<int64_t>(n, 64), each = pieces ? (n + pieces - 1) / pieces : 0;
  float* sums = run.scratch(pieces * h);
  run.by_value("rms_norm_dw", pieces * h, dy, x, inverse, sums, n, h, each);
  run.by_value("sum_rows", h, static_cast<const float*>(sums), dw, pieces);
}

void rope(GpuRun& run) {
  const Shape dims = run.shape(0);
  if (!run.ok(dims.size() == 3 && dims[1] % 2 == 0 && run.size(1) == dims[1] * dims[2] && run.size(2) == run.size(1),
              "wanted x [heads, D, T] with even D, cos and sin [D, T]"))
    return;
  const int64_t half = dims[1] / 2, t = dims[2];
  const float *x = run.in(0), *cos = run.in(1), *sin = run.in(2);
  if (float* y = run.out(0, dims)) run.by_value("rope", run.size(0) / 2, x, cos, sin, y, half, t, run.numbers(3)[0]);
}

void geglu(GpuRun& run) {
  if (!run.ok(run.size(0) == run.size(1), "gate and up differ in size")) return;
  const float *gate = run.in(0), *up = run.in(1);
  if (float* y = run.out(0, run.shape(0))) run.by_value("geglu", run.size(0), gate, up, y);
}

void geglu_gradient(GpuRun& run) {
  if (!run.ok(run.size(0) == run.size(1) && run.size(1) == run.size(2), "dy, gate and up differ in size")) return;
  const float *dy = run.in(0), *gate = run.in(1), *up = run.in(2);
  float *dgate = run.out(0, run.shape(1)), *dup = run.out(1, run.shape(2));
  if (dgate && dup) run.by_value("geglu_gradient", run.size(0), dy, gate, up, dgate, dup);
}

}  // namespace

void define_gpu_blocks() {
  define_on_gpu<norm>("WpoRmsNorm", {"x: float", "w: float", "how: int32", "residual: float"}, {"y: float", "r: float"});
  define_on_gpu<norm_gradient>("WpoRmsNormGrad", {"dy: float", "x: float", "r: float", "w: float"}, {"dx: float", "dw: float"});
  define_on_gpu<rope>("WpoRope", {"x: float", "cos: float", "sin: float", "direction: int32"}, {"y: float"});
  define_on_gpu<geglu>("WpoGeglu", {"gate: float", "up: float"}, {"y: float"});
  define_on_gpu<geglu_gradient>("WpoGegluGrad", {"dy: float", "gate: float", "up: float"}, {"dgate: float", "dup: float"});
}

}  // namespace wpo
