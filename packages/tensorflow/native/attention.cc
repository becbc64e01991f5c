// Soft-capped grouped attention by spans, forwards: scores, softmax and the mix of values of a tile's columns of queries at a
// time, which stay in a core's cache. Scores lie keys by queries, so that softmax goes down the columns, side by side, and what
// it leaves is a panel of the product with the values.
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

struct Attend {
  const float *q, *k, *v;  // [heads, width, queries], [groups, width, columns], the same
  float* o;                // [heads, width, queries]
  int64_t heads, groups, width, queries, columns;
  float factor, cap;
  int64_t key_bytes = 0, value_bytes = 0;  // of a group's keys and values, laid out
  char *keys = nullptr, *values = nullptr;
  const Span* span = nullptr;
};

// Keys in panels of keys, and values in panels of features.
template <class T>
WPO_INLINE void lay_group(const Attend& job, int64_t group) {
  const int64_t from = group * job.width * job.columns;
  lay<T, T::kRows>({job.k + from, 1, job.columns}, 0, job.columns, job.width, job.keys + group * job.key_bytes, T::lay_a);
  lay<T, T::kRows>({job.v + from, job.columns, 1}, 0, job.width, job.columns, job.values + group * job.value_bytes, T::lay_a);
}

// Scores s of pieces of keys in panels of W, for N queries, to unnormalised probabilities; `inverse` gets one over their sums.
// Query i sees the keys from lead + i − window + 1 up to lead + i.
template <int64_t N, int64_t W, bool Capped>
WPO_INLINE void soften(float* s, const std::vector<Piece>& pieces, int32_t lead, int32_t window, float factor, float cap,
                       float* inverse) {
  float most[N], sums[N] = {};
  for (int i = 0; i < N; i++) most[i] = Capped ? peak_of(cap) : -3.4e38f;
  if (!Capped)
    for (const Piece& piece : pieces)
      for (int64_t c = piece.begin; c < piece.end; c++) {
        const float* row = s + (piece.before + c - piece.first) * N;
        const int32_t first = static_cast<int32_t>(c + piece.shift) - lead, last = first + window;  // that see it
        for (int32_t i = 0; i < N; i++) {
          const float x = row[i] * factor;
          most[i] = i >= first && i < last && !(x <= most[i]) ? x : most[i];
        }
      }
  for (const Piece& piece : pieces) {
    float* rows = s + piece.before * N;
    const int64_t hidden = piece.begin - piece.first, depth = piece.depth();
    std::memset(rows, 0, hidden * N * sizeof(float));
    std::memset(rows + depth * N, 0, (up_to(depth, W) - depth) * N * sizeof(float));
    for (int64_t j = hidden; j < depth; j++) {
      float* row = rows + j * N;
      const int32_t first = static_cast<int32_t>(piece.first + j + piece.shift) - lead, last = first + window;
      for (int32_t i = 0; i < N; i++) {
        const float x = row[i] * factor;
        const float e = fast_exp((Capped ? cap * fast_tanh(x) : x) - most[i]);
        row[i] = i >= first && i < last ? e : 0.0f;
        sums[i] += row[i];
      }
    }
  }
  for (int i = 0; i < N; i++) inverse[i] = 1.0f / sums[i];
}

// Queries [first, first + count) of a span, in one head. `work`: scores, the queries laid out, and scores laid out.
template <class T>
WPO_INLINE void attend(const Attend& job, int64_t head, int64_t first, int64_t count, char* work) {
  constexpr int64_t M = T::kRows, N = T::kColumns;
  const Span& span = *job.span;
  const int64_t group = head / (job.heads / job.groups), column = span.row + first, lead = span.lead + first;
  const char* keys = job.keys + group * job.key_bytes;
  const char* values = job.values + group * job.value_bytes;
  const std::vector<Piece> pieces =
      pieces_of(span, std::max<int64_t>(0, lead - span.window + 1), std::min(span.keys, lead + count), M);
  const int64_t columns = columns_of(pieces, M), key_bytes = row_bytes<T>(job.width), value_bytes = row_bytes<T>(job.columns);
  float* scores = reinterpret_cast<float*>(work);
  char *queries = work + columns * N * sizeof(float), *room = queries + N * key_bytes;
  float inverse[N];

  T::begin();
  T::lay_b({job.q + head * job.width * job.queries + column, 1, job.queries}, count, job.width, queries);
  for (const Piece& piece : pieces)
    for (int64_t c = piece.first; c < piece.end; c += M)
      T::tile(job.width, keys + c * key_bytes, queries, scores + (piece.before + c - piece.first) * N, N, false);
  if (job.cap > 0)
    soften<N, M, true>(scores, pieces, lead, span.window, job.factor, job.cap, inverse);
  else
    soften<N, M, false>(scores, pieces, lead, span.window, job.factor, job.cap, inverse);
  const char* p = static_cast<const char*>(T::panel_b(scores, columns, room));
  for (int64_t d = 0; d < job.width; d += M) {
    alignas(64) float mixed[M * N];
    for (const Piece& piece : pieces)
      T::tile(piece.depth(), values + d * value_bytes + piece.first * M * T::kBytes, p + piece.before * N * T::kBytes, mixed, N,
              &piece != &pieces.front());
    const int64_t rows = std::min(M, job.width - d);
    float* o = job.o + (head * job.width + d) * job.queries + column;
    for (int64_t r = 0; r < rows; r++)
      for (int64_t i = 0; i < count; i++) o[r * job.queries + i] = mixed[r * N + i] * inverse[i];
  }
  T::end();
}

struct Way {
  int64_t rows, columns, depths, bytes;  // of a tile; that depths are a multiple of; of a value laid out
  void (*lay)(const Attend&, int64_t);
  void (*attend)(const Attend&, int64_t, int64_t, int64_t, char*);
};

#define WPO_WAY_OF(name, target, ...)                                                                    \
  target void lay_##name(const Attend& job, int64_t group) { lay_group<__VA_ARGS__>(job, group); }       \
  target void attend_##name(const Attend& job, int64_t head, int64_t first, int64_t count, char* work) { \
    attend<__VA_ARGS__>(job, head, first, count, work);                                                  \
  }                                                                                                      \
  const Way name = {__VA_ARGS__::kRows,  __VA_ARGS__::kColumns, __VA_ARGS__::kDepths,                    \
                    __VA_ARGS__::kBytes, lay_##name,            attend_##name};
#define WPO_WAY(name, target, L, M) WPO_WAY_OF(name, target, Floats<L, M>)

WPO_WAYS
#ifdef WPO_TILES
WPO_WAY_OF(thirds, WPO_TILES, Thirds)
#endif

// False where there is no memory to work in.
bool attend_by(const Way& w, Attend job, const std::vector<Span>& spans) {
  const int64_t columns = most_columns(spans, w.rows), width = up_to(job.width, w.depths);
  job.key_bytes = whole_lines(up_to(job.columns, w.rows) * width) * w.bytes;
  job.value_bytes = whole_lines(up_to(job.width, w.rows) * up_to(job.columns, w.depths)) * w.bytes;
  const int64_t floats = static_cast<int64_t>(sizeof(float));
  const int64_t work = whole_lines(columns * w.columns) * (floats + w.bytes) + whole_lines(width * w.columns) * w.bytes;
  const Scratch memory = scratch_of((job.groups * (job.key_bytes + job.value_bytes) + threads() * work) / floats + 1);
  if (!memory) return false;
  job.keys = reinterpret_cast<char*>(memory.get());
  job.values = job.keys + job.groups * job.key_bytes;
  char* works = job.values + job.groups * job.value_bytes;

  parallel(job.groups, 2 * job.columns * job.width,
           [&](int64_t a, int64_t b, int) { for (int64_t g = a; g < b; g++) w.lay(job, g); });
  for (const Span& span : spans) {
    job.span = &span;
    const int64_t pieces = (span.rows + w.columns - 1) / w.columns;
    parallel(job.heads * pieces, w.columns * span.keys, [&](int64_t a, int64_t b, int thread) {
      for (int64_t i = a; i < b; i++) {
        const int64_t first = i % pieces * w.columns;
        w.attend(job, i / pieces, first, std::min(w.columns, span.rows - first), works + thread * work);
      }
    });
  }
  return true;
}

// q [heads, D, T], k, v [groups, D, S], spans, [factor, cap or 0] -> [heads, D, T]
void attend_spans(Run& run) {
  const Shape q = run.shape(0), k = run.shape(1);
  std::vector<Span> spans;
  if (!read_attention(run, 0, &spans)) return;
  float* o = run.out(0, q);
  if (!o) return;
  const Attend job = {run.in(0), run.in(1), run.in(2), o,    q[0],
                      k[0],      q[1],      q[2],      k[2], run.numbers(4)[0],
                      run.numbers(4)[1]};
#ifdef WPO_TILES
  if (product_lanes() == kTile && attend_by(thirds, job, spans) && all_finite(o, run.size(0))) return;
#endif
  run.ok(attend_by(way(), job, spans), "no memory to attend in");
}

}  // namespace

void define_attention() {
  define<attend_spans>("WpoAttendSpans", {"q: float", "k: float", "v: float", "spans: int32", "how: int32"},
                       {"o: float"});
}

}  // namespace wpo
