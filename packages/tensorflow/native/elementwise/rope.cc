// Rotary position embedding of heads [heads, D, T] by tables cos and sin [D, T] (sin is negative in its first half).
#include "elementwise/checks.h"
#include "runtime/operation.h"
#include "runtime/parallel.h"
#include "runtime/vector-math.h"

namespace wpo {
namespace {

WPO_TARGET_CLONES void rotate(int64_t t, const float* x1, const float* x2, const float* cos, const float* sin,
                              float sign, float* y1, float* y2) {
  for (int64_t j = 0; j < t; j++) {
    float a = x1[j], b = x2[j], s = sign * sin[j];
    y1[j] = a * cos[j] - b * s;
    y2[j] = b * cos[j] + a * s;
  }
}

// x, cos, sin, [direction] -> y
void rope(OpContext& ctx) {
  const float sign = read_rope_direction(ctx);
  const Shape& shape = ctx.shape(0);
  const int64_t half = shape[1] / 2, t = shape[2], d = shape[1];
  const float *x = ctx.input(0), *cos = ctx.input(1), *sin = ctx.input(2);
  float* y = ctx.output(0, shape);
  parallel(t == 0 ? 0 : saturated_product(shape[0], half), saturated_product(2, t), [=](int64_t a, int64_t b, int) {
    for (int64_t q = a; q < b; q++) {
      const int64_t head = q / half, i = q % half, first = (head * d + i) * t, second = first + half * t;
      rotate(t, x + first, x + second, cos + i * t, sin + (i + half) * t, sign, y + first, y + second);
    }
  });
}

}  // namespace

void register_rope() { register_kernel<rope>("WpoRope"); }

}  // namespace wpo
