// Soft-capped grouped attention by spans, backwards. Of a block of queries, scores and probabilities p are made again and give
// dscores; both lie in panels of keys, queries after queries, as the products that sum them over the queries read them. What
// is held of scores is a block's queries by all keys.
#include <algorithm>
#include <cstring>
#include "finite.h"
#include "op.h"
#include "parallel.h"
#include "pieces.h"
#include "scratch.h"
#include "thirds.h"

namespace wpo {
namespace {

constexpr int64_t kBlock = 256;  // queries of a key head at a time, those of its query heads together

// Columns [begin, end) of the panel from column `first` on, whose keys some queries see. Column c has key c + shift.
struct Panel {
  int64_t first, begin, end, shift;
};

struct Back {
  const float *dy, *q, *k, *v;  // [heads, width, queries] twice, [groups, width, columns] twice
  float *dq, *dk, *dv;
  int64_t heads, groups, width, queries, columns;
  float factor, cap;
  // keys and values in panels of keys, and keys in panels of features
  char *keys = nullptr, *values = nullptr, *features = nullptr;
  int64_t key_bytes = 0, feature_bytes = 0, feature_rows = 0;  // of a group's; features, in whole panels
  // of a block: its queries, where in the span; the keys that any of them sees
  const Span* span = nullptr;
  int64_t first = 0, rows = 0;
  std::vector<Piece> pieces;
  std::vector<Panel> panels;
  int64_t padded = 0;                 // rows for the queries of a head, in whole tiles
  float *p = nullptr, *ds = nullptr;  // [groups, panels, heads of a group, padded, keys of a panel]
  char *q_by_feature = nullptr, *dy_by_feature = nullptr;  // panels of [groups, features, heads of a group, padded]

  int64_t group_heads() const { return heads / groups; }
  int64_t depth() const { return group_heads() * padded; }  // of a group's queries
  // Row `row` of a head's queries in a panel of so many keys.
  int64_t row_at(int64_t head, int64_t panel, int64_t row, int64_t panel_keys) const {
    const int64_t at = head / group_heads() * static_cast<int64_t>(panels.size()) + panel;
    return ((at * group_heads() + head % group_heads()) * padded + row) * panel_keys;
  }
};

template <class T>
WPO_INLINE void lay_group(const Back& job, int64_t group) {
  constexpr int64_t M = T::kRows, N = T::kColumns;
  const int64_t from = group * job.width * job.columns;
  lay<T, N>({job.k + from, 1, job.columns}, 0, job.columns, job.width, job.keys + group * job.key_bytes, T::lay_b);
  lay<T, N>({job.v + from, 1, job.columns}, 0, job.columns, job.width, job.values + group * job.key_bytes, T::lay_b);
  lay<T, M>({job.k + from, job.columns, 1}, 0, job.width, job.columns, job.features + group * job.feature_bytes, T::lay_a);
}

// A query's scores in `count` panels, `stride` from one to the next, to probabilities, and d loss / d p in `ds` to
// d loss / d scores. It sees keys [low, high). `slopes`: room for d capped score / d score of each.
template <int64_t N, bool Capped>
WPO_INLINE void scores_gradient(float* p, float* ds, int64_t stride, const Panel* panels, int64_t count, int64_t low,
                                int64_t high, float factor, float cap, float* slopes) {
  float most[N], sums[N] = {}, deltas[N] = {};
  const auto first = [=](const Panel& panel) WPO_TERM {
    return static_cast<int32_t>(std::max(low - panel.shift, panel.begin) - panel.first);
  };
  const auto last = [=](const Panel& panel) WPO_TERM {
    return static_cast<int32_t>(std::min(high - panel.shift, panel.end) - panel.first);
  };
  for (int i = 0; i < N; i++) most[i] = Capped ? peak_of(cap) : -3.4e38f;
  if (!Capped) {
    for (int64_t j = 0; j < count; j++) {
      const int32_t begin = first(panels[j]), end = last(panels[j]);
      for (int32_t i = 0; i < N; i++) {
        const float x = p[j * stride + i] * factor;
        most[i] = i >= begin && i < end && !(x <= most[i]) ? x : most[i];
      }
    }
    float top = most[0];
    for (int i = 1; i < N; i++) top = most[i] <= top ? top : most[i];
    for (int i = 0; i < N; i++) most[i] = top;
  }
  for (int64_t j = 0; j < count; j++) {
    const int32_t begin = first(panels[j]), end = last(panels[j]);
    float e[N], d[N], slope[N];
    std::memcpy(e, p + j * stride, sizeof e);
    std::memcpy(d, ds + j * stride, sizeof d);
    for (int32_t i = 0; i < N; i++) {
      const float x = e[i] * factor, t = Capped ? fast_tanh(x) : 0.0f;
      e[i] = fast_exp((Capped ? cap * t : x) - most[i]);
      slope[i] = Capped ? factor * cap * (1.0f - t * t) : factor;
    }
    // each a loop of its own, and not unrolled: so all become vector code
#pragma GCC unroll 1
    for (int32_t i = 0; i < N; i++) {
      const bool seen = i >= begin && i < end;
      e[i] = seen ? e[i] : 0.0f;
      d[i] = seen ? d[i] : 0.0f;
    }
#pragma GCC unroll 1
    for (int i = 0; i < N; i++) {
      sums[i] += e[i];
      deltas[i] += e[i] * d[i];
    }
    std::memcpy(p + j * stride, e, sizeof e);
    std::memcpy(slopes + j * N, slope, sizeof slope);
  }
  for (int half = N / 2; half > 0; half /= 2)
    for (int i = 0; i < half; i++) sums[i] += sums[i + half], deltas[i] += deltas[i + half];
  const float inverse = 1.0f / sums[0], delta = deltas[0] * inverse;
  for (int64_t j = 0; j < count; j++) {
    const int32_t begin = first(panels[j]), end = last(panels[j]);
    float share[N], d[N], slope[N];
    std::memcpy(share, p + j * stride, sizeof share);
    std::memcpy(d, ds + j * stride, sizeof d);
    std::memcpy(slope, slopes + j * N, sizeof slope);
#pragma GCC unroll 1
    for (int32_t i = 0; i < N; i++) {
      share[i] *= inverse;
      const float through = share[i] * (d[i] - delta) * slope[i];
      d[i] = i >= begin && i < end ? through : 0.0f;
    }
    std::memcpy(p + j * stride, share, sizeof share);
    std::memcpy(ds + j * stride, d, sizeof d);
  }
}

// p and dscores of a tile's rows of queries of a block, from row `row` on, and these queries by feature. `work`: two panels of
// these queries, and a row of scores.
template <class T>
WPO_INLINE void probabilities(const Back& job, int64_t head, int64_t row, char* work) {
  constexpr int64_t M = T::kRows, N = T::kColumns;
  const Span& span = *job.span;
  const int64_t group = head / job.group_heads(), count = std::min(M, job.rows - row);
  const int64_t lead = span.lead + job.first + row;  // the first query's own key
  const int64_t low = std::max<int64_t>(0, lead - span.window + 1), high = std::min(span.keys, lead + count);
  const int64_t from = head * job.width * job.queries + span.row + job.first + row, bytes = row_bytes<T>(job.width);
  const char *keys = job.keys + group * job.key_bytes, *values = job.values + group * job.key_bytes;
  char *queries = work, *outs = queries + M * bytes;
  float* slopes = reinterpret_cast<float*>(outs + M * bytes);

  T::begin();
  T::lay_a({job.q + from, 1, job.queries}, count, job.width, queries);
  T::lay_a({job.dy + from, 1, job.queries}, count, job.width, outs);
  for (int64_t d = 0; d < job.feature_rows; d += M) {
    const int64_t depth = (group * job.feature_rows + d) * job.depth() + (head % job.group_heads() * job.padded + row) * M;
    const int64_t features = std::min(M, job.width - d), start = from + d * job.queries, at = depth * T::kBytes;
    if (count < M) {
      std::memset(job.q_by_feature + at, 0, M * M * T::kBytes);
      std::memset(job.dy_by_feature + at, 0, M * M * T::kBytes);
    }
    T::lay_a({job.q + start, job.queries, 1}, features, count, job.q_by_feature + at);
    T::lay_a({job.dy + start, job.queries, 1}, features, count, job.dy_by_feature + at);
  }
  const int64_t panels = job.panels.size();
  int64_t begin = panels, end = 0;  // of the panels that these queries see
  for (int64_t j = 0; j < panels; j++) {
    const Panel& panel = job.panels[j];
    const int64_t at = job.row_at(head, j, row, N);
    if (panel.begin + panel.shift >= high || panel.end + panel.shift <= low) {
      std::memset(job.p + at, 0, M * N * sizeof(float));
      std::memset(job.ds + at, 0, M * N * sizeof(float));
      continue;
    }
    begin = std::min(begin, j), end = j + 1;
    T::tile(job.width, queries, keys + panel.first * bytes, job.p + at, N, false);
    T::tile(job.width, outs, values + panel.first * bytes, job.ds + at, N, false);
  }
  T::end();
  const int64_t stride = job.depth() * N, start = job.row_at(head, begin, row, N);
  const Panel* seen = job.panels.data() + begin;
  for (int64_t i = 0; i < M; i++) {
    float *p = job.p + start + i * N, *ds = job.ds + start + i * N;
    const int64_t hidden = std::max<int64_t>(0, lead + i - span.window + 1), own = std::min(span.keys, lead + i + 1);
    if (i >= count)  // rows that are not there see nothing
      for (int64_t j = 0; j < end - begin; j++) {
        std::memset(p + j * stride, 0, N * sizeof(float));
        std::memset(ds + j * stride, 0, N * sizeof(float));
      }
    else if (job.cap > 0)
      scores_gradient<N, true>(p, ds, stride, seen, end - begin, hidden, own, job.factor, job.cap, slopes);
    else
      scores_gradient<N, false>(p, ds, stride, seen, end - begin, hidden, own, job.factor, job.cap, slopes);
  }
}

// dq of a tile's columns of queries of a block, from row `row` on. `work`: their dscores by key.
template <class T>
WPO_INLINE void queries_gradient(const Back& job, int64_t head, int64_t row, char* work) {
  constexpr int64_t M = T::kRows, N = T::kColumns;
  const int64_t group = head / job.group_heads(), count = std::min(N, job.rows - row), bytes = row_bytes<T>(job.columns);
  const int64_t from = head * job.width * job.queries + job.span->row + job.first + row;
  const char* features = job.features + group * job.feature_bytes;
  T::begin();
  for (int64_t j = 0; j < static_cast<int64_t>(job.panels.size()); j++)
    T::lay_b({job.ds + job.row_at(head, j, row, N), N, 1}, count, N, work + j * N * N * T::kBytes);
  for (int64_t d = 0; d < job.width; d += M) {
    alignas(64) float sums[M * N];
    for (const Piece& piece : job.pieces)
      T::tile(piece.depth(), features + d * bytes + piece.first * M * T::kBytes, work + piece.before * N * T::kBytes, sums, N,
              &piece != &job.pieces.front());
    const int64_t rows = std::min(M, job.width - d);
    float* dq = job.dq + from + d * job.queries;
    for (int64_t r = 0; r < rows; r++)
      for (int64_t i = 0; i < count; i++) dq[r * job.queries + i] = sums[r * N + i];
  }
  T::end();
}

// What a block adds to dk and dv of a panel of keys. `work`: room for a panel of its scores.
template <class T>
WPO_INLINE void keys_gradient(const Back& job, int64_t group, int64_t number, char* work) {
  constexpr int64_t M = T::kRows, N = T::kColumns;
  const Panel& panel = job.panels[number];
  const int64_t scores = job.row_at(group * job.group_heads(), number, 0, N), count = panel.end - panel.begin;
  const auto add = [&](const char* by_feature, const float* by_key, float* gradient) WPO_TERM {
    const void* laid = T::panel_b(by_key + scores, job.depth(), work);
    for (int64_t d = 0; d < job.width; d += M) {
      const char* features = by_feature + (group * job.feature_rows + d) * job.depth() * T::kBytes;
      const int64_t rows = std::min(M, job.width - d);
      float* to = gradient + (group * job.width + d) * job.columns + panel.begin;
      if (rows == M && count == N) {
        T::tile(job.depth(), features, laid, to, job.columns, true);
        continue;
      }
      alignas(64) float sums[M * N];
      T::tile(job.depth(), features, laid, sums, N, false);
      for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < count; i++) to[r * job.columns + i] += sums[r * N + panel.begin - panel.first + i];
    }
  };
  T::begin();
  add(job.q_by_feature, job.ds, job.dk);
  add(job.dy_by_feature, job.p, job.dv);
  T::end();
}

struct Way {
  int64_t rows, columns, depths, bytes;  // of a tile; that depths are a multiple of; of a value laid out
  void (*lay)(const Back&, int64_t);
  void (*probabilities)(const Back&, int64_t, int64_t, char*);
  void (*queries)(const Back&, int64_t, int64_t, char*);
  void (*keys)(const Back&, int64_t, int64_t, char*);
};

#define WPO_WAY_OF(name, target, ...)                                                            \
  target void lay_##name(const Back& job, int64_t group) { lay_group<__VA_ARGS__>(job, group); } \
  target void probabilities_##name(const Back& job, int64_t head, int64_t row, char* work) {     \
    probabilities<__VA_ARGS__>(job, head, row, work);                                            \
  }                                                                                              \
  target void queries_##name(const Back& job, int64_t head, int64_t row, char* work) {           \
    queries_gradient<__VA_ARGS__>(job, head, row, work);                                         \
  }                                                                                              \
  target void keys_##name(const Back& job, int64_t group, int64_t number, char* work) {          \
    keys_gradient<__VA_ARGS__>(job, group, number, work);                                        \
  }                                                                                              \
  const Way name = {__VA_ARGS__::kRows,  __VA_ARGS__::kColumns, __VA_ARGS__::kDepths,            \
                    __VA_ARGS__::kBytes, lay_##name,            probabilities_##name,            \
                    queries_##name,      keys_##name};
#define WPO_WAY(name, target, L, M) WPO_WAY_OF(name, target, Floats<L, M>)

WPO_WAYS
#ifdef WPO_TILES
WPO_WAY_OF(thirds, WPO_TILES, Thirds)
#endif

void block_gradient(const Way& w, const Back& job, char* works, int64_t work) {
  const int64_t tiles = job.padded / w.rows, panels = job.panels.size(), seen = panels * w.columns;
  parallel(job.heads * tiles, 2 * w.rows * (seen + job.width), [&](int64_t a, int64_t b, int thread) {
    for (int64_t i = a; i < b; i++)
      w.probabilities(job, i / tiles, i % tiles * w.rows, works + thread * work);
  });
  const int64_t pieces = (job.rows + w.columns - 1) / w.columns, of_queries = job.heads * pieces;
  parallel(of_queries + job.groups * panels, w.columns * (seen + job.depth()), [&](int64_t a, int64_t b, int thread) {
    for (int64_t i = a; i < b; i++) {
      char* room = works + thread * work;
      const int64_t panel = i - of_queries;
      if (i < of_queries)
        w.queries(job, i / pieces, i % pieces * w.columns, room);
      else
        w.keys(job, panel / panels, panel % panels, room);
    }
  });
}

// False where there is no memory to work in.
bool gradient_by(const Way& w, Back job, const std::vector<Span>& spans) {
  const int64_t size = job.groups * job.width * job.columns * static_cast<int64_t>(sizeof(float));
  std::memset(job.dk, 0, size);
  std::memset(job.dv, 0, size);
  job.feature_rows = up_to(job.width, w.rows);
  const int64_t most = std::max<int64_t>(1, kBlock / job.group_heads() / w.rows) * w.rows;  // rows of a block
  int64_t widest = 0;
  for (const Span& span : spans) widest = std::max(widest, span.rows);
  job.padded = up_to(std::min(most, widest), w.rows);
  const int64_t columns = most_columns(spans, w.columns), width = up_to(job.width, w.depths);
  const auto bytes_of = [&](int64_t values) { return whole_lines(values) * w.bytes; };
  job.key_bytes = bytes_of(up_to(job.columns, w.columns) * width);
  job.feature_bytes = bytes_of(job.feature_rows * up_to(job.columns, w.depths));
  const int64_t scores = whole_lines(job.heads * job.padded * columns);
  const int64_t by_feature = bytes_of(job.heads * job.padded * job.feature_rows);
  const int64_t floats = static_cast<int64_t>(sizeof(float));
  const int64_t work = std::max({2 * bytes_of(w.rows * width) + whole_lines(columns) * floats, bytes_of(columns * w.columns),
                                 bytes_of(job.depth() * w.columns)});
  const int64_t laid = job.groups * (2 * job.key_bytes + job.feature_bytes);
  const Scratch memory = scratch_of(2 * scores + (laid + 2 * by_feature + threads() * work) / floats + 1);
  if (!memory) return false;
  job.p = memory.get();
  job.ds = job.p + scores;
  job.keys = reinterpret_cast<char*>(job.ds + scores);
  job.values = job.keys + job.groups * job.key_bytes;
  job.features = job.values + job.groups * job.key_bytes;
  job.q_by_feature = job.features + job.groups * job.feature_bytes;
  job.dy_by_feature = job.q_by_feature + by_feature;
  char* works = job.dy_by_feature + by_feature;

  parallel(job.groups, 3 * job.columns * job.width,
           [&](int64_t a, int64_t b, int) { for (int64_t g = a; g < b; g++) w.lay(job, g); });
  for (const Span& span : spans) {
    job.span = &span;
    for (job.first = 0; job.first < span.rows; job.first += most) {
      job.rows = std::min(most, span.rows - job.first);
      job.padded = up_to(job.rows, w.rows);
      const int64_t lead = span.lead + job.first;
      job.pieces = pieces_of(span, std::max<int64_t>(0, lead - span.window + 1), std::min(span.keys, lead + job.rows), w.columns);
      job.panels.clear();
      for (const Piece& piece : job.pieces)
        for (int64_t c = piece.first; c < piece.end; c += w.columns)
          job.panels.push_back({c, std::max(c, piece.begin), std::min(c + w.columns, piece.end), piece.shift});
      block_gradient(w, job, works, work);
    }
  }
  return true;
}

// dy, q [heads, D, T], k, v [groups, D, S], spans, [factor, cap or 0] -> dq, dk, dv
void attend_spans_gradient(Run& run) {
  const Shape q = run.shape(1), k = run.shape(2);
  std::vector<Span> spans;
  if (!run.ok(run.shape(0) == q, "dy and q differ in shape") || !read_attention(run, 1, &spans)) return;
  float *dq = run.out(0, q), *dk = run.out(1, k), *dv = run.out(2, k);
  if (!dq || !dk || !dv) return;
  const Back job = {run.in(0), run.in(1), run.in(2), run.in(3), dq,   dk,   dv,
                    q[0],      k[0],      q[1],      q[2],      k[2], run.numbers(5)[0], run.numbers(5)[1]};
#ifdef WPO_TILES
  const auto finite = [&] {
    return all_finite(dq, run.size(1)) && all_finite(dk, run.size(2)) && all_finite(dv, run.size(2));
  };
  if (product_lanes() == kTile && gradient_by(thirds, job, spans) && finite()) return;
#endif
  run.ok(gradient_by(way(), job, spans), "no memory to attend in");
}

}  // namespace

void define_attention_gradient() {
  define<attend_spans_gradient>(
      "WpoAttendSpansGrad", {"dy: float", "q: float", "k: float", "v: float", "spans: int32", "how: int32"},
      {"dq: float", "dk: float", "dv: float"});
}

}  // namespace wpo
