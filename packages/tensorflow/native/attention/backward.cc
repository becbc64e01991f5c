// Grouped-query attention with soft-capped scores, backward pass. It recomputes scores and probabilities p for one
// chunk of queries at a time, and computes dscores from them. p and dscores are stored in panels of keys, query after
// query: the order in which the products that sum over queries read them. Scratch memory holds the scores of one chunk:
// its queries by all keys.
#include <algorithm>
#include <cstring>

#include "attention/key-panels.h"
#include "attention/query-blocks.h"
#include "gemm/bf16.h"
#include "gemm/bf16x3.h"
#include "gemm/finite.h"
#include "runtime/operation.h"
#include "runtime/parallel.h"
#include "runtime/scratch.h"

namespace wpo {
namespace {

constexpr int64_t kChunk = 256;  // queries per chunk and key head, summed over the key head's query heads

// A panel of keys that starts at column `first`. Queries of the chunk see its columns [begin, end). Column c has key
// index c + shift.
struct Panel {
  int64_t first, begin, end, shift;
};

struct BackwardArgs : AttentionArgs {
  Heads dy, q, k, v;  // dy, q [heads, width, queries]; k, v [groups, width, columns]
  float *dq, *dk, *dv;
  // packed: keys and values in panels of keys, and keys again in panels of features
  char *keys = nullptr, *values = nullptr, *features = nullptr;
  int64_t key_bytes = 0, feature_bytes = 0, feature_rows = 0;  // bytes per group; width rounded up to whole panels
  // the chunk: queries [first, first + rows) of the block, and the keys that any of them sees
  const QueryBlock* block = nullptr;
  int64_t first = 0, rows = 0;
  std::vector<KeySlice> slices = {};
  std::vector<Panel> panels = {};
  int64_t padded_rows = 0;            // rows rounded up to whole tiles
  float *p = nullptr, *ds = nullptr;  // [groups, panels, heads of a group, padded rows, keys of a panel]
  char *q_by_feature = nullptr,
       *dy_by_feature = nullptr;  // panels of [groups, features, heads of a group, padded rows]

  int64_t num_panels() const { return static_cast<int64_t>(panels.size()); }
  int64_t depth() const { return group_heads() * padded_rows; }  // of a group's queries
  // Offset of row `row` of a head's queries in a panel of `panel_keys` keys.
  int64_t row_offset(int64_t head, int64_t panel, int64_t row, int64_t panel_keys) const {
    const int64_t at = head / group_heads() * num_panels() + panel;
    return ((at * group_heads() + head % group_heads()) * padded_rows + row) * panel_keys;
  }
};

template <class Tiles>
WPO_INLINE void pack_group(const BackwardArgs& args, int64_t group) {
  constexpr int64_t M = Tiles::kRows, N = Tiles::kColumns;
  const int64_t from = group * args.width * args.columns;
  pack<Tiles, N>(Heads::by_column(args.k, from), 0, args.columns, args.width, args.keys + group * args.key_bytes,
                 Tiles::pack_b);
  pack<Tiles, N>(Heads::by_column(args.v, from), 0, args.columns, args.width, args.values + group * args.key_bytes,
                 Tiles::pack_b);
  pack<Tiles, M>(Heads::by_feature(args.k, from), 0, args.width, args.columns,
                 args.features + group * args.feature_bytes, Tiles::pack_a);
}

// Turns a query's scores, in `count` panels `stride` apart, into probabilities, and d loss / d p in `ds` into d loss /
// d scores. The query sees keys [low, high). `slopes` has room for d capped score / d score of each key.
template <int64_t N, bool Capped>
WPO_INLINE void scores_gradient(float* p, float* ds, int64_t stride, const Panel* panels, int64_t count, int64_t low,
                                int64_t high, float factor, float cap, float* slopes) {
  float maxima[N], sums[N] = {}, deltas[N] = {};
  const auto first = [=](const Panel& panel) WPO_INLINE_LAMBDA {
    return static_cast<int32_t>(std::max(low - panel.shift, panel.begin) - panel.first);
  };
  const auto last = [=](const Panel& panel) WPO_INLINE_LAMBDA {
    return static_cast<int32_t>(std::min(high - panel.shift, panel.end) - panel.first);
  };
  for (int i = 0; i < N; i++) maxima[i] = Capped ? softmax_shift(cap) : -3.4e38f;
  if (!Capped) {
    for (int64_t j = 0; j < count; j++) {
      const int32_t begin = first(panels[j]), end = last(panels[j]);
      for (int32_t i = 0; i < N; i++) {
        const float x = p[j * stride + i] * factor;
        maxima[i] = i >= begin && i < end && !(x <= maxima[i]) ? x : maxima[i];
      }
    }
    float top = maxima[0];
    for (int i = 1; i < N; i++) top = maxima[i] <= top ? top : maxima[i];
    for (int i = 0; i < N; i++) maxima[i] = top;
  }
  for (int64_t j = 0; j < count; j++) {
    const int32_t begin = first(panels[j]), end = last(panels[j]);
    float e[N], d[N], slope[N];
    std::memcpy(e, p + j * stride, sizeof e);
    std::memcpy(d, ds + j * stride, sizeof d);
    for (int32_t i = 0; i < N; i++) {
      const float x = e[i] * factor, t = Capped ? fast_tanh(x) : 0.0f;
      e[i] = fast_exp((Capped ? cap * t : x) - maxima[i]);
      slope[i] = Capped ? factor * cap * (1.0f - t * t) : factor;
    }
    // separate loops that are not unrolled: the compiler vectorises these
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

// Computes p and dscores for one tile of queries, which starts at row `row` of the chunk, and packs q and dy of these
// queries by feature. `work` has room for two panels of the queries and a row of slopes.
template <class Tiles>
WPO_INLINE void probabilities(const BackwardArgs& args, int64_t head, int64_t row, char* work) {
  constexpr int64_t M = Tiles::kRows, N = Tiles::kColumns;
  const QueryBlock& block = *args.block;
  const int64_t group = head / args.group_heads(), count = std::min(M, args.rows - row);
  const int64_t position = block.position_offset + args.first + row;  // the first query's own key
  const int64_t low = std::max<int64_t>(0, position - block.window + 1), high = std::min(block.keys, position + count);
  const int64_t from = head * args.width * args.queries + block.start + args.first + row;
  const int64_t bytes = packed_row_bytes<Tiles>(args.width);
  const char *keys = args.keys + group * args.key_bytes, *values = args.values + group * args.key_bytes;
  char *queries = work, *outs = queries + M * bytes;
  float* slopes = reinterpret_cast<float*>(outs + M * bytes);

  Tiles::begin();
  Tiles::pack_a(Heads::by_column(args.q, from), count, args.width, queries);
  Tiles::pack_a(Heads::by_column(args.dy, from), count, args.width, outs);
  for (int64_t d = 0; d < args.feature_rows; d += M) {
    const int64_t depth =
        (group * args.feature_rows + d) * args.depth() + (head % args.group_heads() * args.padded_rows + row) * M;
    const int64_t features = std::min(M, args.width - d), at = depth * Tiles::kBytes;
    if (count < M) {
      std::memset(args.q_by_feature + at, 0, M * M * Tiles::kBytes);
      std::memset(args.dy_by_feature + at, 0, M * M * Tiles::kBytes);
    }
    Tiles::pack_a(Heads::by_feature(args.q, from + d * args.queries), features, count, args.q_by_feature + at);
    Tiles::pack_a(Heads::by_feature(args.dy, from + d * args.queries), features, count, args.dy_by_feature + at);
  }
  const int64_t panels = args.num_panels();
  int64_t begin = panels, end = 0;  // panels that the tile's queries see
  for (int64_t j = 0; j < panels; j++) {
    const Panel& panel = args.panels[j];
    const int64_t at = args.row_offset(head, j, row, N);
    if (panel.begin + panel.shift >= high || panel.end + panel.shift <= low) {
      std::memset(args.p + at, 0, M * N * sizeof(float));
      std::memset(args.ds + at, 0, M * N * sizeof(float));
      continue;
    }
    begin = std::min(begin, j), end = j + 1;
    Tiles::multiply(args.width, queries, keys + panel.first * bytes, args.p + at, N, false);
    Tiles::multiply(args.width, outs, values + panel.first * bytes, args.ds + at, N, false);
  }
  Tiles::end();
  const int64_t stride = args.depth() * N, start = args.row_offset(head, begin, row, N);
  const Panel* seen = args.panels.data() + begin;
  for (int64_t i = 0; i < M; i++) {
    float *p = args.p + start + i * N, *ds = args.ds + start + i * N;
    const int64_t hidden = std::max<int64_t>(0, position + i - block.window + 1),
                  own = std::min(block.keys, position + i + 1);
    if (i >= count)  // padding rows see no key
      for (int64_t j = 0; j < end - begin; j++) {
        std::memset(p + j * stride, 0, N * sizeof(float));
        std::memset(ds + j * stride, 0, N * sizeof(float));
      }
    else if (args.cap > 0)
      scores_gradient<N, true>(p, ds, stride, seen, end - begin, hidden, own, args.factor, args.cap, slopes);
    else
      scores_gradient<N, false>(p, ds, stride, seen, end - begin, hidden, own, args.factor, args.cap, slopes);
  }
}

// Computes dq for one tile of queries, which starts at row `row` of the chunk. `work` has room for their dscores by
// key.
template <class Tiles>
WPO_INLINE void queries_gradient(const BackwardArgs& args, int64_t head, int64_t row, char* work) {
  constexpr int64_t M = Tiles::kRows, N = Tiles::kColumns;
  const int64_t group = head / args.group_heads(), count = std::min(N, args.rows - row),
                bytes = packed_row_bytes<Tiles>(args.columns);
  const int64_t from = head * args.width * args.queries + args.block->start + args.first + row;
  const char* features = args.features + group * args.feature_bytes;
  Tiles::begin();
  for (int64_t j = 0; j < args.num_panels(); j++)
    Tiles::pack_b({args.ds + args.row_offset(head, j, row, N), N, 1}, count, N, work + j * N * N * Tiles::kBytes);
  for (int64_t d = 0; d < args.width; d += M) {
    alignas(64) float sums[M * N];
    for (const KeySlice& slice : args.slices)
      Tiles::multiply(slice.depth(), features + d * bytes + slice.first * M * Tiles::kBytes,
                      work + slice.columns_before * N * Tiles::kBytes, sums, N, &slice != &args.slices.front());
    const int64_t rows = std::min(M, args.width - d);
    float* dq = args.dq + from + d * args.queries;
    for (int64_t r = 0; r < rows; r++)
      for (int64_t i = 0; i < count; i++) dq[r * args.queries + i] = sums[r * N + i];
  }
  Tiles::end();
}

// Adds the chunk's contribution to dk and dv of one panel of keys. `work` has room for a panel of scores.
template <class Tiles>
WPO_INLINE void keys_gradient(const BackwardArgs& args, int64_t group, int64_t number, char* work) {
  constexpr int64_t M = Tiles::kRows, N = Tiles::kColumns;
  const Panel& panel = args.panels[number];
  const int64_t scores = args.row_offset(group * args.group_heads(), number, 0, N), count = panel.end - panel.begin;
  const auto add = [&](const char* by_feature, const float* by_key, float* gradient) WPO_INLINE_LAMBDA {
    const void* packed = Tiles::as_panel_b(by_key + scores, args.depth(), work);
    for (int64_t d = 0; d < args.width; d += M) {
      const char* features = by_feature + (group * args.feature_rows + d) * args.depth() * Tiles::kBytes;
      const int64_t rows = std::min(M, args.width - d);
      float* to = gradient + (group * args.width + d) * args.columns + panel.begin;
      if (rows == M && count == N) {
        Tiles::multiply(args.depth(), features, packed, to, args.columns, true);
        continue;
      }
      alignas(64) float sums[M * N];
      Tiles::multiply(args.depth(), features, packed, sums, N, false);
      for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < count; i++) to[r * args.columns + i] += sums[r * N + panel.begin - panel.first + i];
    }
  };
  Tiles::begin();
  add(args.q_by_feature, args.ds, args.dk);
  add(args.dy_by_feature, args.p, args.dv);
  Tiles::end();
}

struct IsaVariant {
  int64_t rows, columns, depth_step, bytes;  // as in FloatTiles
  void (*pack_group)(const BackwardArgs&, int64_t);
  void (*probabilities)(const BackwardArgs&, int64_t, int64_t, char*);
  void (*queries)(const BackwardArgs&, int64_t, int64_t, char*);
  void (*keys)(const BackwardArgs&, int64_t, int64_t, char*);
};

#define WPO_TILES_VARIANT(name, target, ...)                                                                        \
  target void pack_group_##name(const BackwardArgs& args, int64_t group) { pack_group<__VA_ARGS__>(args, group); }  \
  target void probabilities_##name(const BackwardArgs& args, int64_t head, int64_t row, char* work) {               \
    probabilities<__VA_ARGS__>(args, head, row, work);                                                              \
  }                                                                                                                 \
  target void queries_##name(const BackwardArgs& args, int64_t head, int64_t row, char* work) {                     \
    queries_gradient<__VA_ARGS__>(args, head, row, work);                                                           \
  }                                                                                                                 \
  target void keys_##name(const BackwardArgs& args, int64_t group, int64_t number, char* work) {                    \
    keys_gradient<__VA_ARGS__>(args, group, number, work);                                                          \
  }                                                                                                                 \
  const IsaVariant name = {__VA_ARGS__::kRows, __VA_ARGS__::kColumns, __VA_ARGS__::kDepthStep, __VA_ARGS__::kBytes, \
                           pack_group_##name,  probabilities_##name,  queries_##name,          keys_##name};
#include "gemm/tile-variants.h"

void chunk_gradient(const IsaVariant& w, const BackwardArgs& args, char* works, int64_t work) {
  const int64_t tiles = args.padded_rows / w.rows, panels = args.num_panels(), seen = panels * w.columns;
  parallel(args.heads * tiles, 2 * w.rows * (seen + args.width), [&](int64_t a, int64_t b, int thread) {
    for (int64_t i = a; i < b; i++) w.probabilities(args, i / tiles, i % tiles * w.rows, works + thread * work);
  });
  const int64_t pieces = (args.rows + w.columns - 1) / w.columns, query_tasks = args.heads * pieces;
  parallel(query_tasks + args.groups * panels, w.columns * (seen + args.depth()),
           [&](int64_t a, int64_t b, int thread) {
             for (int64_t i = a; i < b; i++) {
               char* room = works + thread * work;
               const int64_t panel = i - query_tasks;
               if (i < query_tasks)
                 w.queries(args, i / pieces, i % pieces * w.columns, room);
               else
                 w.keys(args, panel / panels, panel % panels, room);
             }
           });
}

void gradient_by(const IsaVariant& w, BackwardArgs args, const std::vector<QueryBlock>& blocks) {
  const int64_t size = args.groups * args.width * args.columns;
  std::fill_n(args.dk, size, 0.0f);
  std::fill_n(args.dv, size, 0.0f);
  if (args.queries == 0) return;
  args.feature_rows = round_up(args.width, w.rows);
  const int64_t most = std::max<int64_t>(1, kChunk / args.group_heads() / w.rows) * w.rows;  // rows of a chunk
  int64_t widest = 0;
  for (const QueryBlock& block : blocks) widest = std::max(widest, block.count);
  args.padded_rows = round_up(std::min(most, widest), w.rows);
  const int64_t columns = max_panel_columns(blocks, w.columns), width = round_up(args.width, w.depth_step);
  const auto bytes_of = [&](int64_t values) { return line_bytes(values * w.bytes); };
  args.key_bytes = bytes_of(round_up(args.columns, w.columns) * width);
  args.feature_bytes = bytes_of(args.feature_rows * round_up(args.columns, w.depth_step));
  const int64_t scores = whole_lines(checked_product(args.heads, args.padded_rows, columns));
  const int64_t by_feature = bytes_of(checked_product(args.heads, args.padded_rows, args.feature_rows));
  const int64_t floats = static_cast<int64_t>(sizeof(float));
  const int64_t work = std::max({2 * bytes_of(w.rows * width) + whole_lines(columns) * floats,
                                 bytes_of(columns * w.columns), bytes_of(args.depth() * w.columns)});
  const int64_t packed = args.groups * (2 * args.key_bytes + args.feature_bytes);
  const Scratch memory = allocate_scratch(2 * scores + (packed + 2 * by_feature + threads() * work) / floats + 1);
  args.p = memory.get();
  args.ds = args.p + scores;
  args.keys = reinterpret_cast<char*>(args.ds + scores);
  args.values = args.keys + args.groups * args.key_bytes;
  args.features = args.values + args.groups * args.key_bytes;
  args.q_by_feature = args.features + args.groups * args.feature_bytes;
  args.dy_by_feature = args.q_by_feature + by_feature;
  char* works = args.dy_by_feature + by_feature;

  parallel(args.groups, 3 * args.columns * args.width, [&](int64_t a, int64_t b, int) {
    for (int64_t g = a; g < b; g++) w.pack_group(args, g);
  });
  for (const QueryBlock& block : blocks) {
    args.block = &block;
    for (args.first = 0; args.first < block.count; args.first += most) {
      args.rows = std::min(most, block.count - args.first);
      args.padded_rows = round_up(args.rows, w.rows);
      const int64_t position = block.position_offset + args.first;
      args.slices = key_slices(block, std::max<int64_t>(0, position - block.window + 1),
                               std::min(block.keys, position + args.rows), w.columns);
      args.panels.clear();
      for (const KeySlice& slice : args.slices)
        for (int64_t c = slice.first; c < slice.end; c += w.columns)
          args.panels.push_back({c, std::max(c, slice.begin), std::min(c + w.columns, slice.end), slice.shift});
      chunk_gradient(w, args, works, work);
    }
  }
}

// dy, q [heads, D, T], k, v [groups, D, S], query blocks, [factor, cap or 0] -> dq, dk, dv
void attention_gradient(OpContext& ctx) {
  require(ctx.shape(0) == ctx.shape(1), "expected dy of q's shape ", ctx.shape(1), ", found ", ctx.shape(0));
  const AttentionArgs shapes = read_attention_args(ctx, 1, 5);
  const std::vector<QueryBlock> blocks = read_query_blocks(ctx, 4, shapes);
  const Isa isa = selected_isa();
  const Precision precision = ctx.precision();
  float *dq = ctx.output(0, ctx.shape(1)), *dk = ctx.output(1, ctx.shape(2)), *dv = ctx.output(2, ctx.shape(2));
  const BackwardArgs args = {
      shapes, Heads(ctx.view(0)), Heads(ctx.view(1)), Heads(ctx.view(2)), Heads(ctx.view(3)), dq, dk, dv};
#ifdef WPO_AMX
  // in whole blocks of depths, hidden keys are multiplied by zeros: correct for finite values only
  if (isa == Isa::kAmx) {
    gradient_by(precision == Precision::kBfloat16 ? amx_bf16 : amx, args, blocks);
    if (all_finite({dq, ctx.shape(1)}) && all_finite({dk, ctx.shape(2)}) && all_finite({dv, ctx.shape(2)})) return;
  }
#endif
  gradient_by(variant(isa, precision), args, blocks);
}

}  // namespace

void register_attention_backward() { register_kernel<attention_gradient>("WpoAttentionGrad"); }

}  // namespace wpo
