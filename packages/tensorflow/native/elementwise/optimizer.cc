// The gradient norm, and the updates of AdamW, Lion and SGD in place: no second copy of a weight, a moment or a
// gradient.
#include <algorithm>

#include "elementwise/adamw.h"
#include "elementwise/pieces.h"
#include "elementwise/updated-value.h"
#include "runtime/operation.h"
#include "runtime/parallel.h"
#include "runtime/vector-math.h"

namespace wpo {
namespace {

// Reads four parts of x at the same time, because one thread gets more memory bandwidth that way.
WPO_TARGET_CLONES float squares(int64_t n, const float* x) {
  const int64_t part = n / 4;
  const float *y = x + part, *z = y + part, *last = z + part;
  const float all = sum_of(0, part, [=](int64_t j) WPO_INLINE_LAMBDA {
    return (x[j] * x[j] + y[j] * y[j]) + (z[j] * z[j] + last[j] * last[j]);
  });
  return all + sum_of(4 * part, n, [=](int64_t j) WPO_INLINE_LAMBDA { return x[j] * x[j]; });
}

WPO_TARGET_CLONES void update_adamw(int64_t n, const AdamWParams a, float* p, float* m, float* v, const float* g) {
  adamw_values(n, a, p, m, v, g);
}

// p ← p decay_factor − lr sign(β₁ m + (1 − β₁) g); m ← β₂ m + (1 − β₂) g
WPO_TARGET_CLONES void update_lion(int64_t n, const LionParams a, float* p, float* m, const float* g) {
  for (int64_t j = 0; j < n; j++) {
    const float x = g[j] * a.scale, direction = m[j] * a.beta1 + x * a.one_minus_beta1;
    const float step = direction > 0 ? a.learning_rate : direction < 0 ? -a.learning_rate : 0 * direction;
    p[j] = p[j] * a.decay_factor - step;
    m[j] = m[j] * a.beta2 + x * a.one_minus_beta2;
  }
}

// p ← p − lr (g + λ p)
WPO_TARGET_CLONES void update_sgd(int64_t n, const SgdParams a, float* p, const float* g) {
  for (int64_t j = 0; j < n; j++) p[j] -= a.learning_rate * (g[j] * a.scale + a.weight_decay * p[j]);
}

double square_sum(const TensorView& x) {
  const int64_t n = element_count(x.shape), pieces = (n + kPiece - 1) / kPiece;
  std::vector<double> sums(static_cast<size_t>(pieces));
  double* partial = sums.data();
  const auto* values = static_cast<const float*>(x.data);
  const UpdatedValue narrow = {nullptr, static_cast<Bf16*>(x.data), nullptr, 0};
  const bool is_narrow = x.type == Type::kBfloat16;
  parallel(pieces, kPiece, [=](int64_t a, int64_t b, int) {
    float wide[kPiece];
    for (int64_t p = a; p < b; p++) {
      const int64_t at = p * kPiece, count = std::min(kPiece, n - at);
      if (is_narrow) load_values(narrow, at, count, wide);
      partial[p] = squares(count, is_narrow ? wide : values + at);
    }
  });
  double total = 0;
  for (double part : sums) total += part;
  return total;
}

// N tensors -> Σ x² of each [N], summed in double
void square_sums(OpContext& ctx) {
  float* y = ctx.output(0, {ctx.num_inputs()});
  for (int i = 0; i < ctx.num_inputs(); i++) y[i] = static_cast<float>(square_sum(ctx.view(i)));
}

// The inputs of updates.h: [scale, 1 − β₁, β₂, 1 − β₂, ε, lr / (1 − β₁ᵗ), √(1 − β₂ᵗ), 1 − lr λ], then p, m, v, g
// -> done []
void adamw(OpContext& ctx) {
  const AdamWParams params = read_adamw(ctx);
  const Updates updates = adamw_updates(ctx);
  for (int i = 0; i < updates.size(); i++) {
    const UpdatedValue value = updates.value(i);
    float *m = updates.state(i, 0), *v = updates.state(i, 1);
    const float* g = updates.gradient(i);
    parallel_values(updates.count(i), 7, [=](int64_t begin, int64_t end) {
      update_values(value, begin, end,
                    [=](float* p, int64_t at, int64_t n) { update_adamw(n, params, p, m + at, v + at, g + at); });
    });
  }
  *ctx.output_done() = 0;
}

// [scale, β₁, 1 − β₁, β₂, 1 − β₂, learning rate, 1 − lr λ], then p, m, g -> done []
void lion(OpContext& ctx) {
  const LionParams params = read_lion(ctx);
  const Updates updates = lion_updates(ctx);
  for (int i = 0; i < updates.size(); i++) {
    const UpdatedValue value = updates.value(i);
    float* m = updates.state(i, 0);
    const float* g = updates.gradient(i);
    parallel_values(updates.count(i), 5, [=](int64_t begin, int64_t end) {
      update_values(value, begin, end,
                    [=](float* p, int64_t at, int64_t n) { update_lion(n, params, p, m + at, g + at); });
    });
  }
  *ctx.output_done() = 0;
}

// [scale, learning rate, λ], then p, g -> done []
void sgd(OpContext& ctx) {
  const SgdParams params = read_sgd(ctx);
  const Updates updates = sgd_updates(ctx);
  for (int i = 0; i < updates.size(); i++) {
    const UpdatedValue value = updates.value(i);
    const float* g = updates.gradient(i);
    parallel_values(updates.count(i), 3, [=](int64_t begin, int64_t end) {
      update_values(value, begin, end, [=](float* p, int64_t at, int64_t n) { update_sgd(n, params, p, g + at); });
    });
  }
  *ctx.output_done() = 0;
}

}  // namespace

void register_optimizer() {
  register_kernel<square_sums>("WpoSquareSums");
  register_kernel<adamw>("WpoAdamW");
  register_kernel<lion>("WpoLion");
  register_kernel<sgd>("WpoSgd");
}

}  // namespace wpo
