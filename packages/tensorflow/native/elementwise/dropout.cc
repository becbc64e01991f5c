// Dropout. Whether a value is kept depends on the key of its token and on its feature only, so that the gradient and
// recomputed activations have the same masks. The random numbers are in random.h.
#include "elementwise/random.h"

#include "elementwise/checks.h"
#include "runtime/operation.h"
#include "runtime/parallel.h"
#include "runtime/scratch.h"

namespace wpo {
namespace {

WPO_TARGET_CLONES void drop_token(int64_t features, uint32_t key, uint32_t threshold, float factor, const float* x,
                                  float* y) {
  const uint32_t increment = key_increment(key);
  for (int64_t i = 0; i < features; i++) {
    const uint32_t bits = mix_bits(key + static_cast<uint32_t>(i) * increment);
    y[i] = x[i] * (bits >= threshold ? factor : 0.0f);
  }
}

WPO_TARGET_CLONES void drop_feature(int64_t tokens, uint32_t feature, const int32_t* keys, uint32_t threshold,
                                    float factor, const float* x, float* y) {
  for (int64_t t = 0; t < tokens; t++) {
    const uint32_t key = static_cast<uint32_t>(keys[t]);
    const uint32_t bits = mix_bits(key + feature * key_increment(key));
    y[t] = x[t] * (bits >= threshold ? factor : 0.0f);
  }
}

// x [T, features], or by feature [features, T]; keys [T]; [threshold, factor, whether by feature] -> y
void dropout(OpContext& ctx) {
  const DropoutArgs args = read_dropout(ctx);
  const float* x = ctx.input(0);
  const int32_t* keys = ctx.input<int32_t>(1);
  float* y = ctx.output(0, ctx.shape(0));
  const int64_t rows = args.by_feature ? args.features : args.tokens;
  const int64_t width = args.by_feature ? args.tokens : args.features;
  parallel(width == 0 ? 0 : rows, saturated_product(4, width), [=](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; row++) {
      const float* from = x + row * width;
      float* to = y + row * width;
      if (args.by_feature)
        drop_feature(width, static_cast<uint32_t>(row), keys, args.threshold, args.factor, from, to);
      else
        drop_token(width, static_cast<uint32_t>(keys[row]), args.threshold, args.factor, from, to);
    }
  });
}

}  // namespace

void register_dropout() { register_kernel<dropout>("WpoDropout"); }

}  // namespace wpo
