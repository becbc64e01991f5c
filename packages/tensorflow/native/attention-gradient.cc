// Soft-capped grouped attention by spans, backwards. Of a block of queries, scores and probabilities p are made again and give
// dscores; both lie in panels of keys, queries after queries, as the products that sum them over the queries read them. What
// is held of scores is a block's queries by all keys.
#include <cstring>
#include "op.h"
#include "parallel.h"
#include "lay-keys.h"
#include "scratch.h"

namespace wpo {
namespace {

constexpr int64_t kBlock = 256;  // queries of a key head at a time, those of its query heads together

struct Back {
  const float *dy, *q, *k, *v;  // [heads, width, queries] twice, [groups, width, columns] twice
  float *dq, *dk, *dv;
  int64_t heads, groups, width, queries, columns;
  float factor, cap;
  // of a span: its keys and values in panels of keys, and its keys in panels of features
  const Span* span = nullptr;
  float *keys = nullptr, *values = nullptr, *features = nullptr;
  int64_t key_panels = 0, feature_rows = 0;  // panels of keys; features, in whole panels
  // of a block: its queries, where in the span; the keys that any of them sees, from a panel's first
  int64_t first = 0, rows = 0, low = 0, high = 0;
  int64_t padded = 0;                 // rows for the queries of a head, in whole tiles
  float *p = nullptr, *ds = nullptr;  // [groups, panels, heads of a group, padded, keys of a panel]
  float *q_by_feature = nullptr, *dy_by_feature = nullptr;  // [groups, panels of features, heads of a group, padded, M]

  int64_t group_heads() const { return heads / groups; }
  int64_t depth() const { return group_heads() * padded; }  // of a group's queries
  // Row `row` of a head's queries in the panel of key `key`.
  int64_t row_at(int64_t head, int64_t key, int64_t row, int64_t panel_keys) const {
    const int64_t panel = head / group_heads() * key_panels + key / panel_keys;
    return ((panel * group_heads() + head % group_heads()) * padded + row) * panel_keys;
  }
};

template <int L, int M>
WPO_INLINE void lay_group(const Back& job, int64_t group) {
  constexpr int N = 2 * L;
  const int64_t from = group * job.width * job.columns, panels = job.key_panels * N * job.width;
  lay_keys<L, N>(*job.span, job.k + from, job.width, job.columns, job.keys + group * panels);
  lay_keys<L, N>(*job.span, job.v + from, job.width, job.columns, job.values + group * panels);
  lay_features<L, M>(*job.span, job.k + from, job.width, job.columns,
                     job.features + group * job.feature_rows * job.span->keys);
}

// A query's scores, `stride` from panel to panel, to probabilities, and d loss / d p in `ds` to d loss / d scores. Keys
// [low, high) of the panels lie there, of which it sees [begin, end). `slopes`: room for
// d capped score / d score of each.
template <int N>
WPO_INLINE void scores_gradient(float* p, float* ds, int64_t stride, int64_t low, int64_t high, int32_t begin, int32_t end,
                       float factor, float cap, float* slopes) {
  float most[N], sums[N] = {}, deltas[N] = {};
  for (int i = 0; i < N; i++) most[i] = cap > 0 ? cap : -3.4e38f;
  if (!(cap > 0)) {
    for (int64_t j = low, at = 0; j < high; j += N, at += stride)
      for (int32_t i = 0; i < N; i++) {
        const int32_t key = static_cast<int32_t>(j) + i;
        const float x = p[at + i] * factor;
        most[i] = key >= begin && key < end && !(x <= most[i]) ? x : most[i];
      }
    float top = most[0];
    for (int i = 1; i < N; i++) top = most[i] <= top ? top : most[i];
    for (int i = 0; i < N; i++) most[i] = top;
  }
  for (int64_t j = low, at = 0; j < high; j += N, at += stride) {
    float e[N], slope[N];
    for (int i = 0; i < N; i++) {
      const float x = p[at + i] * factor, t = fast_tanh(x);
      e[i] = fast_exp((cap > 0 ? cap * t : x) - most[i]);
      slope[i] = cap > 0 ? factor * cap * (1.0f - t * t) : factor;
    }
    for (int32_t i = 0; i < N; i++) {
      const int32_t key = static_cast<int32_t>(j) + i;
      const bool seen = key >= begin && key < end;
      e[i] = seen ? e[i] : 0.0f;
      sums[i] += e[i];
      deltas[i] += seen ? e[i] * ds[at + i] : 0.0f;
    }
    std::memcpy(p + at, e, sizeof e);
    std::memcpy(slopes + (j - low), slope, sizeof slope);
  }
  float sum = 0, delta = 0;
  for (int i = 0; i < N; i++) sum += sums[i], delta += deltas[i];
  const float inverse = 1.0f / sum;
  delta *= inverse;
  for (int64_t j = low, at = 0; j < high; j += N, at += stride) {
    float share[N], slope[N];
    std::memcpy(share, p + at, sizeof share);
    std::memcpy(slope, slopes + (j - low), sizeof slope);
    for (int32_t i = 0; i < N; i++) {
      const int32_t key = static_cast<int32_t>(j) + i;
      share[i] *= inverse;
      slope[i] = key >= begin && key < end ? share[i] * (ds[at + i] - delta) * slope[i] : 0.0f;
    }
    std::memcpy(p + at, share, sizeof share);
    std::memcpy(ds + at, slope, sizeof slope);
  }
}

// p and dscores of M queries of a block, from row `row` on, and these queries by feature. `work`: two panels of M queries, and
// a row of scores.
template <int L, int M>
WPO_INLINE void probabilities(const Back& job, int64_t head, int64_t row, float* work) {
  constexpr int N = 2 * L;
  const Span& span = *job.span;
  const int64_t group = head / job.group_heads(), count = std::min<int64_t>(M, job.rows - row);
  const int64_t lead = span.lead + job.first + row;  // the first query's own key
  const int64_t low = std::max<int64_t>(0, lead - span.window + 1) / N * N, high = std::min(span.keys, lead + count);
  const int64_t panels = group * job.key_panels * N * job.width;
  const int64_t from = head * job.width * job.queries + span.row + job.first + row;
  float *queries = work, *outs = queries + M * job.width, *slopes = outs + M * job.width;

  lay_values<L, M>({job.q + from, 1, job.queries}, count, job.width, queries);
  lay_values<L, M>({job.dy + from, 1, job.queries}, count, job.width, outs);
  for (int64_t d = 0; d < job.feature_rows; d += M) {
    const int64_t at = (group * job.feature_rows + d) * job.depth() + (head % job.group_heads() * job.padded + row) * M;
    const int64_t features = std::min<int64_t>(M, job.width - d), start = from + d * job.queries;
    if (count < M) {
      std::memset(job.q_by_feature + at, 0, M * M * sizeof(float));
      std::memset(job.dy_by_feature + at, 0, M * M * sizeof(float));
    }
    lay_values<L, M>({job.q + start, job.queries, 1}, features, count, job.q_by_feature + at);
    lay_values<L, M>({job.dy + start, job.queries, 1}, features, count, job.dy_by_feature + at);
  }
  for (int64_t j = job.low; j < job.high; j += N) {
    const int64_t at = job.row_at(head, j, row, N);
    if (j < low || j >= high) {
      std::memset(job.p + at, 0, M * N * sizeof(float));
      std::memset(job.ds + at, 0, M * N * sizeof(float));
      continue;
    }
    tile<L, M>(job.width, queries, job.keys + panels + j * job.width, job.p + at, N, false);
    tile<L, M>(job.width, outs, job.values + panels + j * job.width, job.ds + at, N, false);
  }
  const int64_t stride = job.depth() * N, start = job.row_at(head, low, row, N);
  for (int64_t i = 0; i < M; i++) {
    const int64_t seen = i < count ? std::min(span.keys, lead + i + 1) : 0;  // rows that are not there see nothing
    const int64_t hidden = std::max<int64_t>(0, lead + i - span.window + 1);
    if (i < count)
      scores_gradient<N>(job.p + start + i * N, job.ds + start + i * N, stride, low, high, static_cast<int32_t>(hidden),
                static_cast<int32_t>(seen), job.factor, job.cap, slopes);
    else
      for (int64_t j = low, at = start + i * N; j < high; j += N, at += stride) {
        std::memset(job.p + at, 0, N * sizeof(float));
        std::memset(job.ds + at, 0, N * sizeof(float));
      }
  }
}

// dq of 2 L queries of a block, from row `row` on. `work`: their dscores by key.
template <int L, int M>
WPO_INLINE void queries_gradient(const Back& job, int64_t head, int64_t row, float* work) {
  constexpr int N = 2 * L;
  const int64_t group = head / job.group_heads(), count = std::min<int64_t>(N, job.rows - row);
  const int64_t from = head * job.width * job.queries + job.span->row + job.first + row;
  for (int64_t j = job.low; j < job.high; j += N)
    lay_values<L, N>({job.ds + job.row_at(head, j, row, N), N, 1}, count, N, work + (j - job.low) * N);
  for (int64_t d = 0; d < job.width; d += M) {
    float sums[M * N];
    const float* keys = job.features + (group * job.feature_rows + d) * job.span->keys + job.low * M;
    tile<L, M>(job.high - job.low, keys, work, sums, N, false);
    for (int64_t r = 0, rows = std::min<int64_t>(M, job.width - d); r < rows; r++)
      std::copy_n(sums + r * N, count, job.dq + from + (d + r) * job.queries);
  }
}

// What a block adds to dk and dv of the panel of keys from `key` on.
template <int L, int M>
WPO_INLINE void keys_gradient(const Back& job, int64_t group, int64_t key) {
  constexpr int N = 2 * L;
  const int64_t scores = job.row_at(group * job.group_heads(), key, 0, N);
  const auto add = [&](const float* by_feature, const float* by_key, float* gradient) WPO_TERM {
    for (int64_t d = 0; d < job.width; d += M) {
      float sums[M * N];
      tile<L, M>(job.depth(), by_feature + (group * job.feature_rows + d) * job.depth(), by_key + scores, sums, N, false);
      float* rows = gradient + (group * job.width + d) * job.columns;
      int64_t at = 0;
      for (const KeyRun& run : job.span->runs) {
        const int64_t begin = std::max(at, key), end = std::min(at + run.length, key + N);
        for (int64_t r = 0; r < std::min<int64_t>(M, job.width - d); r++)
          for (int64_t j = begin; j < end; j++) rows[r * job.columns + run.start + j - at] += sums[r * N + j - key];
        at += run.length;
      }
    }
  };
  add(job.q_by_feature, job.ds, job.dk);
  add(job.dy_by_feature, job.p, job.dv);
}

struct Way {
  int64_t rows, columns;  // of a tile
  void (*lay)(const Back&, int64_t);
  void (*probabilities)(const Back&, int64_t, int64_t, float*);
  void (*queries)(const Back&, int64_t, int64_t, float*);
  void (*keys)(const Back&, int64_t, int64_t);
};

#define WPO_WAY(name, target, L, M)                                                              \
  target void lay_##name(const Back& job, int64_t group) { lay_group<L, M>(job, group); }        \
  target void probabilities_##name(const Back& job, int64_t head, int64_t row, float* work) {    \
    probabilities<L, M>(job, head, row, work);                                                   \
  }                                                                                              \
  target void queries_##name(const Back& job, int64_t head, int64_t row, float* work) {          \
    queries_gradient<L, M>(job, head, row, work);                                                \
  }                                                                                              \
  target void keys_##name(const Back& job, int64_t group, int64_t key) {                         \
    keys_gradient<L, M>(job, group, key);                                                        \
  }                                                                                              \
  const Way name = {M, 2 * L, lay_##name, probabilities_##name, queries_##name, keys_##name};

WPO_WAYS

void block_gradient(const Way& w, const Back& job, float* works, int64_t work) {
  const int64_t tiles = job.padded / w.rows, seen = job.high - job.low;
  parallel(job.heads * tiles, 2 * w.rows * (seen + job.width), [&](int64_t a, int64_t b, int thread) {
    for (int64_t i = a; i < b; i++)
      w.probabilities(job, i / tiles, i % tiles * w.rows, works + thread * work);
  });
  const int64_t pieces = (job.rows + w.columns - 1) / w.columns, panels = (seen + w.columns - 1) / w.columns;
  const int64_t of_queries = job.heads * pieces;
  parallel(of_queries + job.groups * panels, w.columns * (seen + job.depth()), [&](int64_t a, int64_t b, int thread) {
    for (int64_t i = a; i < b; i++)
      if (i < of_queries)
        w.queries(job, i / pieces, i % pieces * w.columns, works + thread * work);
      else
        w.keys(job, (i - of_queries) / panels, job.low + (i - of_queries) % panels * w.columns);
  });
}

// dy, q [heads, D, T], k, v [groups, D, S], spans, [factor, cap or 0] -> dq, dk, dv
void attend_spans_gradient(Run& run) {
  const Shape q = run.shape(1), k = run.shape(2);
  std::vector<Span> spans;
  if (!run.ok(run.shape(0) == q, "dy and q differ in shape") || !read_attention(run, 1, &spans)) return;
  float *dq = run.out(0, q), *dk = run.out(1, k), *dv = run.out(2, k);
  if (!dq || !dk || !dv) return;
  std::memset(dk, 0, run.size(2) * sizeof(float));
  std::memset(dv, 0, run.size(2) * sizeof(float));

  const Way& w = way();
  Back job = {run.in(0), run.in(1), run.in(2), run.in(3), dq,   dk, dv, q[0], k[0], q[1], q[2], k[2], run.numbers(5)[0],
              run.numbers(5)[1]};
  job.feature_rows = up_to(job.width, w.rows);
  const int64_t most = std::max<int64_t>(1, kBlock / job.group_heads() / w.rows) * w.rows;  // rows of a block
  int64_t longest = 0, widest = 0;
  for (const Span& span : spans) longest = std::max(longest, span.keys), widest = std::max(widest, span.rows);
  job.padded = up_to(std::min(most, widest), w.rows);
  const int64_t panelled = up_to(longest, w.columns);
  const int64_t keys = whole_lines(job.groups * panelled * job.width);
  const int64_t features = whole_lines(job.groups * job.feature_rows * longest);
  const int64_t scores = whole_lines(job.heads * job.padded * panelled);
  const int64_t by_feature = whole_lines(job.heads * job.padded * job.feature_rows);
  const int64_t work = whole_lines(std::max(2 * w.rows * job.width + panelled, panelled * w.columns));
  const int64_t size = 2 * (keys + scores + by_feature) + features + threads() * work;
  const Scratch memory = scratch_of(size);
  if (!run.ok(memory != nullptr, "no memory to attend in")) return;
  job.keys = memory.get();
  job.values = job.keys + keys;
  job.features = job.values + keys;
  job.p = job.features + features;
  job.ds = job.p + scores;
  job.q_by_feature = job.ds + scores;
  job.dy_by_feature = job.q_by_feature + by_feature;
  float* works = job.dy_by_feature + by_feature;

  for (const Span& span : spans) {
    job.span = &span;
    job.key_panels = up_to(span.keys, w.columns) / w.columns;
    parallel(job.groups, 3 * span.keys * job.width,
             [&](int64_t a, int64_t b, int) { for (int64_t g = a; g < b; g++) w.lay(job, g); });
    for (job.first = 0; job.first < span.rows; job.first += most) {
      job.rows = std::min(most, span.rows - job.first);
      job.padded = up_to(job.rows, w.rows);
      const int64_t lead = span.lead + job.first;
      job.low = std::max<int64_t>(0, lead - span.window + 1) / w.columns * w.columns;
      job.high = std::min(span.keys, lead + job.rows);
      block_gradient(w, job, works, work);
    }
  }
}

}  // namespace

void define_attention_gradient() {
  define<attend_spans_gradient>(
      "WpoAttendSpansGrad", {"dy: float", "q: float", "k: float", "v: float", "spans: int32", "how: int32"},
      {"dq: float", "dk: float", "dv: float"});
}

}  // namespace wpo
