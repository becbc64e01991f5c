// Soft-capped grouped attention by spans, there and back. As the processor's (attention.cc, attention-gradient.cc, cache.cc).
#include <algorithm>
#include <vector>
#include "../spans.h"
#include "run.h"

namespace wpo {
namespace {

// Queries [heads, width, queries], keys and values [groups, width, columns]. Heads that share a group are `each` in number.
struct Attention {
  int64_t heads, groups, width, queries, columns;
  float factor, cap;
  int64_t each() const { return heads / groups; }
};

// Products of a span's queries with a run of its keys, of which there are `at` before.
class SpanProducts {
 public:
  SpanProducts(GpuRun& run, const Attention& a, const Span& span) : run_(run), a_(a), span_(span) {}

  // scores [heads, rows, keys] = xᵀ · y, x with queries and y with keys for columns
  void scores(const float* x, const float* y, const KeyRun& keys, int64_t at, float* scores) {
    for (int64_t g = 0; g < a_.each(); g++)
      run_.device().multiply({true, false, span_.rows, keys.length, a_.width, query(x, g), a_.queries, query_next(),
                              y + keys.start, a_.columns, key_next(), 0.0f, score(scores, g) + at, span_.keys,
                              score_next(), a_.groups});
  }
  // x += y · scoresᵀ, over its first run of keys anew
  void to_queries(const float* y, const float* scores, const KeyRun& keys, int64_t at, float* x) {
    for (int64_t g = 0; g < a_.each(); g++)
      run_.device().multiply({false, true, a_.width, span_.rows, keys.length, y + keys.start, a_.columns, key_next(),
                              score(scores, g) + at, span_.keys, score_next(), at > 0 ? 1.0f : 0.0f, query(x, g),
                              a_.queries, query_next(), a_.groups});
  }
  // y += x · scores, over all heads of a group
  void to_keys(const float* x, const float* scores, const KeyRun& keys, int64_t at, float* y) {
    for (int64_t g = 0; g < a_.each(); g++)
      run_.device().multiply({false, false, a_.width, keys.length, span_.rows, query(x, g), a_.queries, query_next(),
                              score(scores, g) + at, span_.keys, score_next(), 1.0f, y + keys.start, a_.columns,
                              key_next(), a_.groups});
  }

 private:
  template <class T>
  T* query(T* x, int64_t g) const {
    return x + g * a_.width * a_.queries + span_.row;
  }
  template <class T>
  T* score(T* x, int64_t g) const {
    return x + g * span_.rows * span_.keys;
  }
  int64_t query_next() const { return a_.each() * a_.width * a_.queries; }
  int64_t key_next() const { return a_.width * a_.columns; }
  int64_t score_next() const { return a_.each() * span_.rows * span_.keys; }

  GpuRun& run_;
  const Attention& a_;
  const Span& span_;
};

// Calls `use` with each run of a span's keys, and how many keys are before it.
template <class Use>
void each_run(const Span& span, Use use) {
  int64_t at = 0;
  for (const KeyRun& keys : span.runs) {
    if (keys.length > 0) use(keys, at);
    at += keys.length;
  }
}

int64_t most_scores(const Attention& a, const std::vector<Span>& spans) {
  int64_t most = 0;
  for (const Span& span : spans) most = std::max(most, a.heads * span.rows * span.keys);
  return most;
}

void attend_spans(GpuRun& run) {
  const Shape q = run.shape(0), k = run.shape(1);
  std::vector<Span> spans;
  if (!read_attention(run, 0, &spans)) return;
  float* o = run.out(0, q);
  if (!o) return;
  const Attention a = {q[0], k[0], q[1], q[2], k[2], run.numbers(4)[0], run.numbers(4)[1]};
  float* p = run.scratch(most_scores(a, spans));
  for (const Span& span : spans) {
    SpanProducts products(run, a, span);
    each_run(span, [&](const KeyRun& keys, int64_t at) { products.scores(run.in(0), run.in(1), keys, at, p); });
    run.by_row("soften", a.heads * span.rows, p, span.rows, span.keys, span.lead, span.window, a.factor, a.cap);
    each_run(span, [&](const KeyRun& keys, int64_t at) { products.to_queries(run.in(2), p, keys, at, o); });
  }
}

void attend_spans_gradient(GpuRun& run) {
  const Shape q = run.shape(1), k = run.shape(2);
  std::vector<Span> spans;
  if (!run.ok(run.shape(0) == q, "dy and q differ in shape") || !read_attention(run, 1, &spans)) return;
  float *dq = run.out(0, q), *dk = run.out(1, k), *dv = run.out(2, k);
  if (!dq || !dk || !dv) return;
  run.device().zero(dk, run.size(2));
  run.device().zero(dv, run.size(2));
  const Attention a = {q[0], k[0], q[1], q[2], k[2], run.numbers(5)[0], run.numbers(5)[1]};
  const float *dy = run.in(0), *queries = run.in(1), *keys_in = run.in(2), *values = run.in(3);
  float *p = run.scratch(most_scores(a, spans)), *ds = run.scratch(most_scores(a, spans));
  for (const Span& span : spans) {
    SpanProducts products(run, a, span);
    each_run(span, [&](const KeyRun& keys, int64_t at) {
      products.scores(queries, keys_in, keys, at, p);
      products.scores(dy, values, keys, at, ds);
    });
    run.by_row("soften_gradient", a.heads * span.rows, p, ds, span.rows, span.keys, span.lead, span.window,
             a.factor, a.cap);
    each_run(span, [&](const KeyRun& keys, int64_t at) {
      products.to_keys(dy, p, keys, at, dv);
      products.to_keys(queries, ds, keys, at, dk);
      products.to_queries(keys_in, ds, keys, at, dq);
    });
  }
}

void attend_one(GpuRun& run) {
  int64_t longest = 0;
  if (!read_single_attention(run, &longest)) return;
  const Shape q_shape = run.shape(0), k_shape = run.shape(1);
  const int64_t heads = q_shape[0], width = q_shape[1], queries = q_shape[2], columns = k_shape[2];
  const float *q = run.in(0), *k = run.in(1), *v = run.in(2);
  float* o = run.out(0, q_shape);
  if (!o) return;
  float* work = run.scratch(heads * queries * longest);
  run.by_row("attend_one", heads * queries, q, k, v, run.upload(run.in<int32_t>(3), 2 * queries), work, o, width, queries,
           columns, heads / k_shape[0], longest, run.numbers(4)[0], run.numbers(4)[1]);
}

}  // namespace

void define_gpu_attention() {
  define_on_gpu<attend_spans>("WpoAttendSpans", {"q: float", "k: float", "v: float", "spans: int32", "how: int32"}, {"o: float"});
  define_on_gpu<attend_spans_gradient>("WpoAttendSpansGrad", {"dy: float", "q: float", "k: float", "v: float", "spans: int32", "how: int32"}, {"dq: float", "dk: float", "dv: float"});
  define_on_gpu<attend_one>("WpoAttendOne", {"q: float", "k: float", "v: float", "spans: int32", "how: int32"}, {"o: float"});
}

}  // namespace wpo
