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

// Queries of one span, or of several, and the keys of their scores. `seen`: of each query, two runs of scores, from and to.
struct Part {
  int64_t row, rows, keys;
  std::vector<KeyRun> runs;
  std::vector<int32_t> seen;
};

// What each query of a span sees of its keys, which may be cut at two runs' ends.
template <class See>
void each_query(const Span& span, See see) {
  for (int64_t i = 0; i < span.rows; i++) {
    const int64_t position = span.lead + i;
    see(std::max<int64_t>(0, position - span.window + 1), std::min(position + 1, span.keys));
  }
}

Part part_of(const Span& span) {
  Part part = {span.row, span.rows, span.keys, span.runs, {}};
  each_query(span, [&](int64_t low, int64_t high) {
    for (int64_t n : {low, high, int64_t{0}, int64_t{0}}) part.seen.push_back(static_cast<int32_t>(n));
  });
  return part;
}

// All queries by all columns of keys, most of which a query may not see; false where one sees more than two runs.
bool join(const Attention& a, const std::vector<Span>& spans, Part* part) {
  *part = {0, a.queries, a.columns, {{0, a.columns}}, {}};
  for (const Span& span : spans)
    each_query(span, [&](int64_t low, int64_t high) {
      int64_t at = 0;
      const size_t begin = part->seen.size();
      for (const KeyRun& keys : span.runs) {
        const int64_t from = std::max(low, at), to = std::min(high, at + keys.length);
        if (to > from)
          for (int64_t n : {from, to}) part->seen.push_back(static_cast<int32_t>(keys.start + n - at));
        at += keys.length;
      }
      if (part->seen.size() - begin == 2) part->seen.insert(part->seen.end(), 2, 0);
    });
  return static_cast<int64_t>(part->seen.size()) == 4 * a.queries;
}

// Spans as they are, or as one where its scores are few, and those that no query sees cost less than starting products for each.
std::vector<Part> parts_of(const Attention& a, const std::vector<Span>& spans) {
  int64_t runs = 0, scores = 0;
  for (const Span& span : spans) runs += span.runs.size(), scores += span.rows * span.keys;
  Part joined;
  const int64_t unseen = (a.queries * a.columns - scores) * a.width * a.heads;
  const bool few = a.heads * a.queries * a.columns <= platform.joined;
  if (few && unseen < (runs - 1) * a.each() * platform.start && join(a, spans, &joined)) return {joined};
  std::vector<Part> parts;
  for (const Span& span : spans) parts.push_back(part_of(span));
  return parts;
}

// Products of a part's queries with a run of its keys, of which there are `at` before.
class PartProducts {
 public:
  PartProducts(GpuRun& run, const Attention& a, const Part& part) : run_(run), a_(a), part_(part) {}

  // scores [heads, rows, keys] = xᵀ · y, x with queries and y with keys for columns
  void scores(const float* x, const float* y, const KeyRun& keys, int64_t at, float* scores) {
    for (int64_t g = 0; g < a_.each(); g++)
      run_.device().multiply(Products<float>{true, false, part_.rows, keys.length, a_.width, query(x, g), a_.queries,
                                             query_next(), y + keys.start, a_.columns, key_next(), 0.0f,
                                             score(scores, g) + at, part_.keys, score_next(), a_.groups});
  }
  // x += y · scoresᵀ, over its first run of keys anew
  void to_queries(const float* y, const float* scores, const KeyRun& keys, int64_t at, float* x) {
    for (int64_t g = 0; g < a_.each(); g++)
      run_.device().multiply(Products<float>{false, true, a_.width, part_.rows, keys.length, y + keys.start, a_.columns,
                                             key_next(), score(scores, g) + at, part_.keys, score_next(),
                                             at > 0 ? 1.0f : 0.0f, query(x, g), a_.queries, query_next(), a_.groups});
  }
  // y += x · scores, over all heads of a group
  void to_keys(const float* x, const float* scores, const KeyRun& keys, int64_t at, float* y) {
    for (int64_t g = 0; g < a_.each(); g++)
      run_.device().multiply(Products<float>{false, false, a_.width, keys.length, part_.rows, query(x, g), a_.queries,
                                             query_next(), score(scores, g) + at, part_.keys, score_next(), 1.0f,
                                             y + keys.start, a_.columns, key_next(), a_.groups});
  }

 private:
  template <class T>
  T* query(T* x, int64_t g) const {
    return x + g * a_.width * a_.queries + part_.row;
  }
  template <class T>
  T* score(T* x, int64_t g) const {
    return x + g * part_.rows * part_.keys;
  }
  int64_t query_next() const { return a_.each() * a_.width * a_.queries; }
  int64_t key_next() const { return a_.width * a_.columns; }
  int64_t score_next() const { return a_.each() * part_.rows * part_.keys; }

  GpuRun& run_;
  const Attention& a_;
  const Part& part_;
};

// Calls `use` with each run of a part's keys, and how many keys are before it.
template <class Use>
void each_run(const Part& part, Use use) {
  int64_t at = 0;
  for (const KeyRun& keys : part.runs) {
    if (keys.length > 0) use(keys, at);
    at += keys.length;
  }
}

int64_t most_scores(const Attention& a, const std::vector<Part>& parts) {
  int64_t most = 0;
  for (const Part& part : parts) most = std::max(most, a.heads * part.rows * part.keys);
  return most;
}

void attend_spans(GpuRun& run) {
  const Shape q = run.shape(0), k = run.shape(1);
  std::vector<Span> spans;
  if (!read_attention(run, 0, &spans)) return;
  float* o = run.out(0, q);
  if (!o) return;
  const Attention a = {q[0], k[0], q[1], q[2], k[2], run.numbers(4)[0], run.numbers(4)[1]};
  const std::vector<Part> parts = parts_of(a, spans);
  float* p = run.scratch(most_scores(a, parts));
  for (const Part& part : parts) {
    PartProducts products(run, a, part);
    each_run(part, [&](const KeyRun& keys, int64_t at) { products.scores(run.in(0), run.in(1), keys, at, p); });
    run.by_row("soften", a.heads * part.rows, p, run.upload(part.seen), part.rows, part.keys, a.factor, a.cap);
    each_run(part, [&](const KeyRun& keys, int64_t at) { products.to_queries(run.in(2), p, keys, at, o); });
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
  const std::vector<Part> parts = parts_of(a, spans);
  float *p = run.scratch(most_scores(a, parts)), *ds = run.scratch(most_scores(a, parts));
  for (const Part& part : parts) {
    PartProducts products(run, a, part);
    each_run(part, [&](const KeyRun& keys, int64_t at) {
      products.scores(queries, keys_in, keys, at, p);
      products.scores(dy, values, keys, at, ds);
    });
    run.by_row("soften_gradient", a.heads * part.rows, p, ds, run.upload(part.seen), part.rows, part.keys, a.factor, a.cap);
    each_run(part, [&](const KeyRun& keys, int64_t at) {
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
