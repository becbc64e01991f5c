// Log-probs and alignment terms from raw logits [A, V], in one pass over each row, and the logits' gradient beside them.
#include <cmath>
#include <memory>
#include "op.h"
#include "parallel.h"
#include "vector-math.h"

namespace wpo {
namespace {

constexpr int64_t kRun = 4096;  // values summed in float before they join a double

WPO_INLINE float largest(int64_t v, const float* x) {
  float lanes[kLanes];
  for (int i = 0; i < kLanes; i++) lanes[i] = x[0];
  int64_t j = 0;
  for (; j + kLanes <= v; j += kLanes)
    for (int i = 0; i < kLanes; i++) lanes[i] = x[j + i] > lanes[i] ? x[j + i] : lanes[i];
  float most = lanes[0];
  for (int i = 1; i < kLanes; i++) most = lanes[i] > most ? lanes[i] : most;
  for (; j < v; j++) most = x[j] > most ? x[j] : most;
  return most;
}

// With l = cap tanh(raw / cap), or raw without a cap, and m = max l: terms from Σ e^(l−m) and Σ e^(2(l−m)). Overwrites `x`,
// the raw logits: where there is `tanhs`, scratch of the same size, by p (1 − (l / cap)²).
WPO_VECTOR void row_terms(int64_t v, float cap, float* x, int32_t target, float* tanhs, float* terms) {
  const bool capped = cap > 0;
  const float scale = capped ? cap : 1.0f;
  if (capped) {
    const float inverse = 1.0f / cap;
    for (int64_t j = 0; j < v; j++) x[j] = fast_tanh(x[j] * inverse);
    if (tanhs) std::memcpy(tanhs, x, v * sizeof(float));
  }
  const float most = largest(v, x), t = x[target];
  double z = 0, z2 = 0;
  for (int64_t begin = 0; begin < v; begin += kRun) {
    const int64_t end = begin + kRun < v ? begin + kRun : v;
    for (int64_t j = begin; j < end; j++) x[j] = fast_exp(scale * (x[j] - most));
    z += sum_of(begin, end, [=](int64_t j) WPO_TERM { return x[j]; });
    z2 += sum_of(begin, end, [=](int64_t j) WPO_TERM { return x[j] * x[j]; });
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

// raw [A, V] (overwritten, where it is to train by p (1 − (l / cap)²), the dense part of −d log p / d raw), targets [A],
// [cap or 0, 1 to train] -> terms [A, 4]: log p, log Σ p², log max p, and 1 − (l / cap)² at the target
void answer_terms(Run& run) {
  const int64_t v = run.width(0), n = run.rows(0);
  const int32_t* targets = run.in<int32_t>(1);
  bool fits = run.size(1) == n && run.size(2) == 2;
  for (int64_t i = 0; fits && i < n; i++) fits = targets[i] >= 0 && targets[i] < v;
  if (!run.ok(fits, "wanted a target below the vocabulary's size for each row")) return;
  const float cap = run.numbers(2)[0];
  const bool train = run.numbers(2)[1] != 0;
  float *raw = run.in(0), *terms = run.out(0, {n, 4});
  if (!terms) return;
  std::unique_ptr<float[]> scratch(train ? new float[threads() * v] : nullptr);
  float* tanhs = scratch.get();
  parallel(n, 8 * v, [=](int64_t a, int64_t b, int thread) {
    for (int64_t i = a; i < b; i++)
      row_terms(v, cap, raw + i * v, targets[i], tanhs ? tanhs + thread * v : nullptr, terms + 4 * i);
  });
}

WPO_VECTOR void cap_values(int64_t begin, int64_t end, float cap, const float* x, float* y) {
  const float inverse = 1.0f / cap;
  for (int64_t j = begin; j < end; j++) y[j] = cap * fast_tanh(x[j] * inverse);
}

// raw, [cap] -> cap tanh(raw / cap)
void cap_logits(Run& run) {
  const int64_t n = run.size(0);
  if (!run.ok(run.size(1) == 1 && run.numbers(1)[0] > 0, "wanted one cap above 0")) return;
  const float *x = run.in(0), cap = run.numbers(1)[0];
  float* y = run.out(0, run.shape(0));
  if (!y) return;
  parallel((n + kRun - 1) / kRun, 8 * kRun, [=](int64_t a, int64_t b, int) {
    cap_values(a * kRun, b * kRun < n ? b * kRun : n, cap, x, y);
  });
}

}  // namespace

void define_head() {
  define<answer_terms>("WpoAnswerTerms", {"raw: float", "targets: int32", "how: int32"}, {"terms: float"});
  define<cap_logits>("WpoCapLogits", {"raw: float", "cap: int32"}, {"logits: float"});
}

}  // namespace wpo
