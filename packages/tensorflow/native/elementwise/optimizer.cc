// The gradient norm, and the updates of AdamW, Lion and SGD in place: no second copy of a weight, a moment or a
// gradient.
#include <algorithm>

#include "elementwise/adamw.h"
#include "elementwise/checks.h"
#include "elementwise/pieces.h"
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

WPO_TARGET_CLONES void update_adamw(int64_t begin, int64_t end, const AdamWParams a, float* p, float* m, float* v,
                                    const float* g) {
  adamw_values(begin, end, a, p, m, v, g);
}

// p ← p decay_factor − lr sign(β₁ m + (1 − β₁) g); m ← β₂ m + (1 − β₂) g
WPO_TARGET_CLONES void update_lion(int64_t begin, int64_t end, const LionParams a, float* p, float* m, const float* g) {
  for (int64_t j = begin; j < end; j++) {
    const float x = g[j] * a.scale, direction = m[j] * a.beta1 + x * a.one_minus_beta1;
    const float step = direction > 0 ? a.learning_rate : direction < 0 ? -a.learning_rate : 0 * direction;
    p[j] = p[j] * a.decay_factor - step;
    m[j] = m[j] * a.beta2 + x * a.one_minus_beta2;
  }
}

// p ← p − lr (g + λ p)
WPO_TARGET_CLONES void update_sgd(int64_t begin, int64_t end, const SgdParams a, float* p, const float* g) {
  for (int64_t j = begin; j < end; j++) p[j] -= a.learning_rate * (g[j] * a.scale + a.weight_decay * p[j]);
}

double square_sum(const float* x, int64_t n) {
  const int64_t pieces = (n + kPiece - 1) / kPiece;
  std::vector<double> sums(static_cast<size_t>(pieces));
  double* partial = sums.data();
  parallel(pieces, kPiece, [=](int64_t a, int64_t b, int) {
    for (int64_t p = a; p < b; p++) partial[p] = squares(std::min(kPiece, n - p * kPiece), x + p * kPiece);
  });
  double total = 0;
  for (double part : sums) total += part;
  return total;
}

// N tensors -> Σ x² of each [N], summed in double
void square_sums(OpContext& ctx) {
  float* y = ctx.output(0, {ctx.num_inputs()});
  for (int i = 0; i < ctx.num_inputs(); i++) y[i] = static_cast<float>(square_sum(ctx.input(i), ctx.size(i)));
}

// [scale, 1 − β₁, β₂, 1 − β₂, ε, lr / (1 − β₁ᵗ), √(1 − β₂ᵗ), 1 − lr λ], then p, m, v (changed), g of each parameter
// -> done []
void adamw(OpContext& ctx) {
  const AdamWParams params = read_adamw(ctx);
  for (int i = 1; i < ctx.num_inputs(); i += 4) {
    float *p = ctx.changed_input(i), *m = ctx.changed_input(i + 1), *v = ctx.changed_input(i + 2);
    const float* g = ctx.input(i + 3);
    parallel_values(ctx.size(i), 7, [=](int64_t begin, int64_t end) { update_adamw(begin, end, params, p, m, v, g); });
  }
  *ctx.output_done() = 0;
}

// [scale, β₁, 1 − β₁, β₂, 1 − β₂, learning rate, 1 − lr λ], then p, m (changed), g of each parameter -> done []
void lion(OpContext& ctx) {
  const LionParams params = read_lion(ctx);
  for (int i = 1; i < ctx.num_inputs(); i += 3) {
    float *p = ctx.changed_input(i), *m = ctx.changed_input(i + 1);
    const float* g = ctx.input(i + 2);
    parallel_values(ctx.size(i), 5, [=](int64_t begin, int64_t end) { update_lion(begin, end, params, p, m, g); });
  }
  *ctx.output_done() = 0;
}

// [scale, learning rate, λ], then p (changed), g of each parameter -> done []
void sgd(OpContext& ctx) {
  const SgdParams params = read_sgd(ctx);
  for (int i = 1; i < ctx.num_inputs(); i += 2) {
    float* p = ctx.changed_input(i);
    const float* g = ctx.input(i + 1);
    parallel_values(ctx.size(i), 3, [=](int64_t begin, int64_t end) { update_sgd(begin, end, params, p, g); });
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
