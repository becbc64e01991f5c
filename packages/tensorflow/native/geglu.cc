// GeGLU and its gradient, value by value.
#include "geglu.h"
#include "op.h"
#include "parallel.h"
#include "vector-math.h"

namespace wpo {
namespace {

constexpr int64_t kPiece = 4096;

WPO_VECTOR void forward_values(int64_t begin, int64_t end, const float* g, const float* u, float* y) {
  for (int64_t j = begin; j < end; j++) y[j] = gated(g[j], u[j]);
}

WPO_VECTOR void backward_values(int64_t begin, int64_t end, const float* d, const float* g, const float* u, float* dg,
                                float* du) {
  for (int64_t j = begin; j < end; j++) {
    const float x = g[j], x2 = x * x, z = x * (kLinear + kCubic * x2), s = 1.0f / (1.0f + fast_exp(-z));
    du[j] = d[j] * x * s;
    dg[j] = d[j] * u[j] * (s + x * s * (1.0f - s) * (kLinear + 3.0f * kCubic * x2));
  }
}

template <class Values>
void over(int64_t n, Values values) {
  parallel((n + kPiece - 1) / kPiece, 4 * kPiece,
           [=](int64_t a, int64_t b, int) { values(a * kPiece, b * kPiece < n ? b * kPiece : n); });
}

// gate, up -> y
void geglu(Run& run) {
  if (!run.ok(run.size(0) == run.size(1), "gate and up differ in size")) return;
  const float *g = run.in(0), *u = run.in(1);
  float* y = run.out(0, run.shape(0));
  if (y) over(run.size(0), [=](int64_t a, int64_t b) { forward_values(a, b, g, u, y); });
}

// dy, gate, up -> dgate, dup
void geglu_gradient(Run& run) {
  if (!run.ok(run.size(0) == run.size(1) && run.size(1) == run.size(2), "dy, gate and up differ in size")) return;
  const float *d = run.in(0), *g = run.in(1), *u = run.in(2);
  float *dg = run.out(0, run.shape(1)), *du = run.out(1, run.shape(2));
  if (dg && du) over(run.size(0), [=](int64_t a, int64_t b) { backward_values(a, b, d, g, u, dg, du); });
}

}  // namespace

void define_geglu() {
  define<geglu>("WpoGeglu", {"gate: float", "up: float"}, {"y: float"});
  define<geglu_gradient>("WpoGegluGrad", {"dy: float", "gate: float", "up: float"}, {"dgate: float", "dup: float"});
}

}  // namespace wpo
