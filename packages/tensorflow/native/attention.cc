// Soft-capped grouped attention by spans, forwards: scores, softmax and the mix of values of 2 L queries at a time, which
// stay in a core's cache. Scores lie keys by queries, so that softmax goes down the columns, side by side, and what it leaves
// is a panel of the product with the values.
#include <algorithm>
#include "op.h"
#include "parallel.h"
#include "lay-keys.h"
#include "scratch.h"

namespace wpo {
namespace {

struct Attend {
  const float *q, *k, *v;  // [heads, width, queries], [groups, width, columns], the same
  float* o;                // [heads, width, queries]
  int64_t heads, groups, width, queries, columns;
  float factor, cap;
  int64_t key_panel, value_panel;  // sizes of a group's keys and values, laid out
  float *keys, *values;
  const Span* span = nullptr;
};

// Keys in panels of M, and values in panels of M features.
template <int L, int M>
WPO_INLINE void lay_group(const Attend& job, int64_t group) {
  const int64_t from = group * job.width * job.columns;
  lay_keys<L, M>(*job.span, job.k + from, job.width, job.columns, job.keys + group * job.key_panel);
  lay_features<L, M>(*job.span, job.v + from, job.width, job.columns, job.values + group * job.value_panel);
}

// Scores s of keys [low, high) for N queries to unnormalised probabilities; `inverse` gets one over their sums. Query i sees
// the keys from first + i − window + 1 up to first + i.
template <int N>
WPO_INLINE void soften(float* s, int32_t low, int32_t high, int32_t first, int32_t window, float factor, float cap,
                       float* inverse) {
  float most[N], sums[N] = {};
  const auto seen = [=](int32_t j, int32_t i) WPO_TERM { return j <= first + i && j > first + i - window; };
  if (cap > 0) {
    for (int i = 0; i < N; i++) most[i] = cap;
  } else {
    for (int i = 0; i < N; i++) most[i] = -3.4e38f;
    for (int32_t j = low; j < high; j++)
      for (int i = 0; i < N; i++) {
        const float x = s[(j - low) * N + i] * factor;
        most[i] = seen(j, i) && !(x <= most[i]) ? x : most[i];
      }
  }
  for (int32_t j = low; j < high; j++) {
    float* row = s + (j - low) * N;
    const bool all = j <= first && j > first + N - 1 - window;
    for (int i = 0; i < N; i++) {
      const float x = row[i] * factor;
      const float e = fast_exp((cap > 0 ? cap * fast_tanh(x) : x) - most[i]);
      row[i] = all || seen(j, i) ? e : 0.0f;
      sums[i] += row[i];
    }
  }
  for (int i = 0; i < N; i++) inverse[i] = 1.0f / sums[i];
}

// Queries [first, first + count) of a span, in one head. `work`: scores, the queries laid out, and a tile.
template <int L, int M>
WPO_INLINE void attend(const Attend& job, int64_t head, int64_t first, int64_t count, float* work) {
  constexpr int N = 2 * L;
  const Span& span = *job.span;
  const int64_t group = head / (job.heads / job.groups), column = span.row + first, lead = span.lead + first;
  const float* keys = job.keys + group * job.key_panel;
  const float* values = job.values + group * job.value_panel;
  const int64_t low = std::max<int64_t>(0, lead - span.window + 1) / M * M;
  const int64_t high = std::min(span.keys, lead + count);
  float* scores = work;
  float* queries = scores + (high - low + M) * N;
  float inverse[N];

  lay_values<L, N>({job.q + head * job.width * job.queries + column, 1, job.queries}, count, job.width, queries);
  for (int64_t j = low; j < high; j += M)
    tile<L, M>(job.width, keys + j * job.width, queries, scores + (j - low) * N, N, false);
  soften<N>(scores, low, high, lead, span.window, job.factor, job.cap, inverse);
  for (int64_t d = 0; d < job.width; d += M) {
    float mixed[M * N];
    tile<L, M>(high - low, values + d * span.keys + low * M, scores, mixed, N, false);
    for (int64_t r = 0, rows = std::min<int64_t>(M, job.width - d); r < rows; r++) {
      float* o = job.o + (head * job.width + d + r) * job.queries + column;
      for (int64_t i = 0; i < count; i++) o[i] = mixed[r * N + i] * inverse[i];
    }
  }
}

struct Way {
  int64_t rows, columns;  // of a tile
  void (*lay)(const Attend&, int64_t);
  void (*attend)(const Attend&, int64_t, int64_t, int64_t, float*);
};

#define WPO_WAY(name, target, L, M)                                                                                \
  target void lay_##name(const Attend& job, int64_t group) { lay_group<L, M>(job, group); }                        \
  target void attend_##name(const Attend& job, int64_t head, int64_t first, int64_t count, float* work) {          \
    attend<L, M>(job, head, first, count, work);                                                                   \
  }                                                                                                                \
  const Way name = {M, 2 * L, lay_##name, attend_##name};

WPO_WAYS

// q [heads, D, T], k, v [groups, D, S], spans, [factor, cap or 0] -> [heads, D, T]
void attend_spans(Run& run) {
  const Shape q = run.shape(0), k = run.shape(1);
  std::vector<Span> spans;
  if (!read_attention(run, 0, &spans)) return;
  float* o = run.out(0, q);
  if (!o) return;
  const Way& w = way();
  const int64_t heads = q[0], groups = k[0], width = q[1];
  int64_t longest = 0;
  for (const Span& span : spans) longest = std::max(longest, span.keys);
  const int64_t keys = whole_lines(up_to(longest, w.rows) * width), values = whole_lines(up_to(width, w.rows) * longest);
  const int64_t work = whole_lines((up_to(longest, w.rows) + w.rows + width) * w.columns);
  const Scratch memory = scratch_of(groups * (keys + values) + threads() * work);
  if (!run.ok(memory != nullptr, "no memory to attend in")) return;
  float *laid_values = memory.get() + groups * keys, *works = laid_values + groups * values;
  Attend job = {run.in(0),       run.in(1), run.in(2), o,      heads,        groups,     width, q[2], k[2],
                run.numbers(4)[0], run.numbers(4)[1], keys,   values, memory.get(), laid_values};
  for (const Span& span : spans) {
    job.span = &span;
    parallel(groups, 2 * span.keys * width,
             [&](int64_t a, int64_t b, int) { for (int64_t g = a; g < b; g++) w.lay(job, g); });
    const int64_t pieces = (span.rows + w.columns - 1) / w.columns;
    parallel(heads * pieces, w.columns * span.keys, [&](int64_t a, int64_t b, int thread) {
      for (int64_t i = a; i < b; i++) {
        const int64_t first = i % pieces * w.columns;
        w.attend(job, i / pieces, first, std::min(w.columns, span.rows - first), works + thread * work);
      }
    });
  }
}

}  // namespace

void define_attention() {
  define<attend_spans>("WpoAttendSpans", {"q: float", "k: float", "v: float", "spans: int32", "how: int32"},
                       {"o: float"});
}

}  // namespace wpo
