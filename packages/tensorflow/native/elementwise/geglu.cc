// GeGLU and its gradient.
#include "elementwise/geglu.h"

#include "elementwise/checks.h"
#include "elementwise/pieces.h"
#include "elementwise/typed.h"
#include "runtime/operation.h"

namespace wpo {
namespace {

template <class X, class Y>
WPO_INLINE void forward_values(int64_t begin, int64_t end, const X* g, const X* u, Y* y) {
  for (int64_t j = begin; j < end; j++) store_float(y + j, gated(load_float(g + j), load_float(u + j)));
}

template <class X, class Y>
WPO_INLINE void backward_values(int64_t begin, int64_t end, const float* d, const X* g, const X* u, Y* dg, Y* du) {
  for (int64_t j = begin; j < end; j++) {
    const float x = load_float(g + j), x2 = x * x, z = x * (kLinear + kCubic * x2), s = 1.0f / (1.0f + fast_exp(-z));
    store_float(du + j, d[j] * x * s);
    store_float(dg + j, d[j] * load_float(u + j) * (s + x * s * (1.0f - s) * (kLinear + 3.0f * kCubic * x2)));
  }
}

#define WPO_TYPED_LOOP(X, Y)                                                                                          \
  WPO_TARGET_CLONES void forward(int64_t begin, int64_t end, const X* g, const X* u, Y* y) {                          \
    forward_values(begin, end, g, u, y);                                                                              \
  }                                                                                                                   \
  WPO_TARGET_CLONES void backward(int64_t begin, int64_t end, const float* d, const X* g, const X* u, Y* dg, Y* du) { \
    backward_values(begin, end, d, g, u, dg, du);                                                                     \
  }
WPO_TYPED_LOOPS
#undef WPO_TYPED_LOOP

// gate, up -> y
void geglu(OpContext& ctx) {
  require_geglu(ctx);
  const int64_t count = ctx.size(0);
  with_types(ctx.view(0), ctx.typed_output(0, ctx.shape(0)), [&](const auto* g, auto* y) {
    const auto* u = static_cast<decltype(g)>(ctx.view(1).data);
    parallel_values(count, 4, [=](int64_t a, int64_t b) { forward(a, b, g, u, y); });
  });
}

// dy, gate, up -> dgate, dup
void geglu_gradient(OpContext& ctx) {
  require_geglu_gradient(ctx);
  const int64_t count = ctx.size(0);
  const float* d = ctx.input(0);
  const TensorView dgate = ctx.typed_output(0, ctx.shape(1)), dup = ctx.typed_output(1, ctx.shape(2));
  require(dgate.type == dup.type, "expected outputs dgate and dup of one type, found ", name_of(dgate.type), " and ",
          name_of(dup.type));
  with_types(ctx.view(1), dgate, [&](const auto* g, auto* dg) {
    const auto* u = static_cast<decltype(g)>(ctx.view(2).data);
    auto* du = static_cast<decltype(dg)>(dup.data);
    parallel_values(count, 4, [=](int64_t a, int64_t b) { backward(a, b, d, g, u, dg, du); });
  });
}

}  // namespace

void register_geglu() {
  register_kernel<geglu>("WpoGeglu");
  register_kernel<geglu_gradient>("WpoGegluGrad");
}

}  // namespace wpo
