// Rotary embedding of heads [heads, D, T] by tables cos and sin [D, T] (sin negative in its first half).
#include "op.h"
#include "parallel.h"
#include "vector-math.h"

namespace wpo {
namespace {

WPO_VECTOR void turn(int64_t t, const float* x1, const float* x2, const float* cos, const float* sin, float sign,
                     float* y1, float* y2) {
  for (int64_t j = 0; j < t; j++) {
    float a = x1[j], b = x2[j], s = sign * sin[j];
    y1[j] = a * cos[j] - b * s;
    y2[j] = b * cos[j] + a * s;
  }
}

// x, cos, sin, direction (1, or −1 for the gradient) -> y
void rope(Run& run) {
  const Shape dims = run.shape(0);
  if (!run.ok(dims.size() == 3 && dims[1] % 2 == 0 && run.size(1) == dims[1] * dims[2] && run.size(2) == run.size(1),
              "wanted x [heads, D, T] with even D, cos and sin [D, T]"))
    return;
  const int64_t half = dims[1] / 2, t = dims[2], d = dims[1];
  const float *x = run.in(0), *cos = run.in(1), *sin = run.in(2);
  const float sign = run.numbers(3)[0];
  float* y = run.out(0, dims);
  if (!y) return;
  parallel(dims[0] * half, 2 * t, [=](int64_t a, int64_t b, int) {
    for (int64_t q = a; q < b; q++) {
      const int64_t head = q / half, i = q % half, first = (head * d + i) * t, second = first + half * t;
      turn(t, x + first, x + second, cos + i * t, sin + (i + half) * t, sign, y + first, y + second);
    }
  });
}

}  // namespace

void define_rope() {
  define<rope>("WpoRope", {"x: float", "cos: float", "sin: float", "direction: int32"}, {"y: float"});
}

}  // namespace wpo
