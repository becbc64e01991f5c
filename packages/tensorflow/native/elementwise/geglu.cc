// GeGLU and its gradient.
#include "elementwise/geglu.h"

#include "elementwise/checks.h"
#include "elementwise/pieces.h"
#include "runtime/operation.h"

namespace wpo {
namespace {

WPO_TARGET_CLONES void forward_values(int64_t begin, int64_t end, const float* g, const float* u, float* y) {
  for (int64_t j = begin; j < end; j++) y[j] = gated(g[j], u[j]);
}

WPO_TARGET_CLONES void backward_values(int64_t begin, int64_t end, const float* d, const float* g, const float* u,
                                       float* dg, float* du) {
  for (int64_t j = begin; j < end; j++) {
    const float x = g[j], x2 = x * x, z = x * (kLinear + kCubic * x2), s = 1.0f / (1.0f + fast_exp(-z));
    du[j] = d[j] * x * s;
    dg[j] = d[j] * u[j] * (s + x * s * (1.0f - s) * (kLinear + 3.0f * kCubic * x2));
  }
}

// gate, up -> y
void geglu(OpContext& ctx) {
  require_geglu(ctx);
  const float *g = ctx.input(0), *u = ctx.input(1);
  float* y = ctx.output(0, ctx.shape(0));
  parallel_values(ctx.size(0), 4, [=](int64_t a, int64_t b) { forward_values(a, b, g, u, y); });
}

// dy, gate, up -> dgate, dup
void geglu_gradient(OpContext& ctx) {
  require_geglu_gradient(ctx);
  const float *d = ctx.input(0), *g = ctx.input(1), *u = ctx.input(2);
  float *dg = ctx.output(0, ctx.shape(1)), *du = ctx.output(1, ctx.shape(2));
  parallel_values(ctx.size(0), 4, [=](int64_t a, int64_t b) { backward_values(a, b, d, g, u, dg, du); });
}

}  // namespace

void register_geglu() {
  register_kernel<geglu>("WpoGeglu");
  register_kernel<geglu_gradient>("WpoGegluGrad");
}

}  // namespace wpo
