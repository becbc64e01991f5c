// Rotary position embedding of heads [heads, D, T] by tables cos and sin [D, T] (sin is negative in its first half).
#include "elementwise/checks.h"
#include "elementwise/typed.h"
#include "runtime/operation.h"
#include "runtime/parallel.h"
#include "runtime/vector-math.h"

namespace wpo {
namespace {

template <class X, class Y>
WPO_INLINE void rotate_values(int64_t t, const X* x1, const X* x2, const float* cos, const float* sin, float sign,
                              Y* y1, Y* y2) {
  for (int64_t j = 0; j < t; j++) {
    float a = load_float(x1 + j), b = load_float(x2 + j), s = sign * sin[j];
    store_float(y1 + j, a * cos[j] - b * s);
    store_float(y2 + j, b * cos[j] + a * s);
  }
}
#define WPO_TYPED_LOOP(X, Y)                                                                                         \
  WPO_TARGET_CLONES void rotate(int64_t t, const X* x1, const X* x2, const float* cos, const float* sin, float sign, \
                                Y* y1, Y* y2) {                                                                      \
    rotate_values(t, x1, x2, cos, sin, sign, y1, y2);                                                                \
  }
WPO_TYPED_LOOPS
#undef WPO_TYPED_LOOP

// x, cos, sin, [direction] -> y
void rope(OpContext& ctx) {
  const float sign = read_rope_direction(ctx);
  const Shape& shape = ctx.shape(0);
  const int64_t half = shape[1] / 2, t = shape[2], d = shape[1];
  const float *cos = ctx.input(1), *sin = ctx.input(2);
  with_types(ctx.view(0), ctx.typed_output(0, shape), [=, heads = shape[0]](const auto* x, auto* y) {
    parallel(t == 0 ? 0 : saturated_product(heads, half), saturated_product(2, t), [=](int64_t a, int64_t b, int) {
      for (int64_t q = a; q < b; q++) {
        const int64_t head = q / half, i = q % half, first = (head * d + i) * t, second = first + half * t;
        rotate(t, x + first, x + second, cos + i * t, sin + (i + half) * t, sign, y + first, y + second);
      }
    });
  });
}

}  // namespace

void register_rope() { register_kernel<rope>("WpoRope"); }

}  // namespace wpo
