// Log-probs and alignment terms from raw logits [A, V], and the dense part of the logits' gradient, in one pass over
// each row.
#include <algorithm>
#include <cmath>

#include "elementwise/checks.h"
#include "runtime/operation.h"
#include "runtime/parallel.h"
#include "runtime/scratch.h"
#include "runtime/vector-math.h"

namespace wpo {
namespace {

constexpr int64_t kFloatSum = 4096;  // values summed in float before they join a double

WPO_INLINE float largest(int64_t v, const float* x) {
  float maxima[kPartialSums];
  for (int i = 0; i < kPartialSums; i++) maxima[i] = x[0];
  int64_t j = 0;
  for (; j + kPartialSums <= v; j += kPartialSums)
    for (int i = 0; i < kPartialSums; i++) maxima[i] = x[j + i] > maxima[i] ? x[j + i] : maxima[i];
  float most = maxima[0];
  for (int i = 1; i < kPartialSums; i++) most = maxima[i] > most ? maxima[i] : most;
  for (; j < v; j++) most = x[j] > most ? x[j] : most;
  return most;
}

// With l = cap tanh(raw / cap), or raw without a cap, and m = max l: terms from Σ e^(l−m) and Σ e^(2(l−m)). Overwrites
// `x`, the raw logits; with `tanhs`, scratch of the same size, the result there is p (1 − (l / cap)²).
WPO_TARGET_CLONES void row_terms(int64_t v, float cap, float* x, int32_t target, float* tanhs, float* terms) {
  const bool capped = cap > 0;
  const float scale = capped ? cap : 1.0f;
  if (capped) {
    const float inverse = 1.0f / cap;
    for (int64_t j = 0; j < v; j++) x[j] = fast_tanh(x[j] * inverse);
    if (tanhs) std::memcpy(tanhs, x, v * sizeof(float));
  }
  const float most = largest(v, x), t = x[target];
  double z = 0, z2 = 0;
  for (int64_t begin = 0; begin < v; begin += kFloatSum) {
    const int64_t end = begin + kFloatSum < v ? begin + kFloatSum : v;
    for (int64_t j = begin; j < end; j++) x[j] = fast_exp(scale * (x[j] - most));
    z += sum_of(begin, end, [=](int64_t j) WPO_INLINE_LAMBDA { return x[j]; });
    z2 += sum_of(begin, end, [=](int64_t j) WPO_INLINE_LAMBDA { return x[j] * x[j]; });
  }
  const double log_z = std::log(z);
  terms[0] = static_cast<float>(static_cast<double>(scale) * (t - most) - log_z);
  terms[1] = static_cast<float>(std::log(z2) - 2 * log_z);
  terms[2] = static_cast<float>(-log_z);
  terms[3] = capped ? 1.0f - t * t : 1.0f;
  if (!tanhs) return;
  const float share = static_cast<float>(1 / z);
  if (capped) {
    for (int64_t j = 0; j < v; j++) x[j] = x[j] * share * (1.0f - tanhs[j] * tanhs[j]);
  } else {
    for (int64_t j = 0; j < v; j++) x[j] *= share;
  }
}

// raw [A, V] (overwritten; in training by p (1 − (l / cap)²), the dense part of −d log p / d raw), targets [A],
// [cap or 0, 1 to train] -> terms [A, 4]: log p, log Σ p², log max p, and 1 − (l / cap)² at the target
void answer_terms(OpContext& ctx) {
  const AnswerTermsArgs args = read_answer_terms(ctx);
  const int64_t n = args.rows, v = args.vocabulary;
  const int32_t* targets = ctx.input<int32_t>(1);
  float *raw = ctx.changed_input(0), *terms = ctx.output(0, {n, 4});
  const Scratch scratch = args.train && n > 0 ? allocate_scratch(checked_product(threads(), v)) : nullptr;
  float* tanhs = scratch.get();
  parallel(n, saturated_product(8, v), [=, cap = args.cap](int64_t a, int64_t b, int thread) {
    for (int64_t i = a; i < b; i++)
      row_terms(v, cap, raw + i * v, targets[i], tanhs ? tanhs + thread * v : nullptr, terms + 4 * i);
  });
}

WPO_TARGET_CLONES void cap_values(int64_t begin, int64_t end, float cap, const float* x, float* y) {
  const float inverse = 1.0f / cap;
  for (int64_t j = begin; j < end; j++) y[j] = cap * fast_tanh(x[j] * inverse);
}

// raw, [cap] -> cap tanh(raw / cap)
void cap_logits(OpContext& ctx) {
  const float cap = read_cap(ctx);
  const int64_t n = ctx.size(0);
  const float* x = ctx.input(0);
  float* y = ctx.output(0, ctx.shape(0));
  parallel((n + kFloatSum - 1) / kFloatSum, 8 * kFloatSum,
           [=](int64_t a, int64_t b, int) { cap_values(a * kFloatSum, std::min(b * kFloatSum, n), cap, x, y); });
}

}  // namespace

void register_head() {
  register_kernel<answer_terms>("WpoAnswerTerms");
  register_kernel<cap_logits>("WpoCapLogits");
}

}  // namespace wpo
