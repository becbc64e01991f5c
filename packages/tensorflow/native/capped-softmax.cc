// The middle of attention: capped, masked softmax of scores, in one pass; and its gradient.
//
// Scores are [K, G n, s]: row i of a head is query i mod n of a span, which may see the keys from lead + i − window + 1
// up to lead + i. t = tanh(score), p = softmax(cap t); without a cap, p = softmax(score).
#include <cmath>
#include <cstring>
#include "op.h"
#include "parallel.h"
#include "vector-math.h"

namespace wpo {
namespace {

struct Span {
  int64_t queries, lead, window;
  float cap;
  // Keys [low, high) of s that row i sees.
  void seen(int64_t row, int64_t s, int64_t* low, int64_t* high) const {
    const int64_t at = lead + row % queries;
    *low = at - window + 1 > 0 ? at - window + 1 : 0;
    *high = at + 1 < s ? at + 1 : s;
  }
};

Span span_of(const float* parameters) {
  return {static_cast<int64_t>(parameters[0]), static_cast<int64_t>(parameters[1]),
          static_cast<int64_t>(parameters[2]), parameters[3]};
}

WPO_VECTOR void softmax_rows(int64_t begin, int64_t end, int64_t s, const Span span, const float* scores, float* p) {
  for (int64_t row = begin; row < end; row++) {
    int64_t low, high;
    span.seen(row, s, &low, &high);
    const float* x = scores + row * s;
    float* o = p + row * s;
    std::memset(o, 0, low * sizeof(float));
    std::memset(o + high, 0, (s - high) * sizeof(float));
    if (span.cap > 0) {
      // capped scores are at most cap: e^(cap t − cap) neither overflows nor needs the row's largest first
      for (int64_t j = low; j < high; j++) o[j] = fast_exp(span.cap * (fast_tanh(x[j]) - 1.0f));
    } else {
      float most = x[low];
      for (int64_t j = low; j < high; j++) most = x[j] > most ? x[j] : most;
      for (int64_t j = low; j < high; j++) o[j] = fast_exp(x[j] - most);
    }
    const float scale = 1.0f / sum_of(low, high, [=](int64_t j) WPO_TERM { return o[j]; });
    for (int64_t j = low; j < high; j++) o[j] *= scale;
  }
}

// ds = p (dp − Σ dp p), and times cap (1 − t²) through a cap.
WPO_VECTOR void gradient_rows(int64_t begin, int64_t end, int64_t s, const Span span, const float* dp, const float* p,
                              const float* scores, float* ds) {
  for (int64_t row = begin; row < end; row++) {
    int64_t low, high;
    span.seen(row, s, &low, &high);
    const float *d = dp + row * s, *q = p + row * s, *x = scores + row * s;
    float* o = ds + row * s;
    std::memset(o, 0, low * sizeof(float));
    std::memset(o + high, 0, (s - high) * sizeof(float));
    const float through = sum_of(low, high, [=](int64_t j) WPO_TERM { return d[j] * q[j]; });
    if (span.cap > 0) {
      for (int64_t j = low; j < high; j++) {
        const float t = fast_tanh(x[j]);
        o[j] = q[j] * (d[j] - through) * (1.0f - t * t) * span.cap;
      }
    } else {
      for (int64_t j = low; j < high; j++) o[j] = q[j] * (d[j] - through);
    }
  }
}

// scores, [queries, lead, window, cap or 0] -> p
void cap_softmax(Run& run) {
  const int64_t s = run.width(0), n = run.rows(0);
  if (!run.ok(run.size(1) == 4 && run.numbers(1)[0] >= 1, "wanted four parameters, at least one query")) return;
  const Span span = span_of(run.numbers(1));
  const float* scores = run.in(0);
  float* p = run.out(0, run.shape(0));
  if (!p) return;
  parallel(n, 4 * s, [=](int64_t a, int64_t b, int) { softmax_rows(a, b, s, span, scores, p); });
}

// dp, p, scores, parameters -> d loss / d score
void cap_softmax_gradient(Run& run) {
  const int64_t s = run.width(0), n = run.rows(0);
  if (!run.ok(run.size(1) == n * s && run.size(2) == n * s && run.size(3) == 4, "dp, p and scores do not fit")) return;
  const Span span = span_of(run.numbers(3));
  const float *dp = run.in(0), *p = run.in(1), *scores = run.in(2);
  float* ds = run.out(0, run.shape(0));
  if (!ds) return;
  parallel(n, 3 * s, [=](int64_t a, int64_t b, int) { gradient_rows(a, b, s, span, dp, p, scores, ds); });
}

}  // namespace

void define_capped_softmax() {
  define<cap_softmax>("WpoCapSoftmax", {"scores: float", "span: int32"}, {"p: float"});
  define<cap_softmax_gradient>("WpoCapSoftmaxGrad", {"dp: float", "p: float", "scores: float", "span: int32"},
                               {"ds: float"});
}

}  // namespace wpo
