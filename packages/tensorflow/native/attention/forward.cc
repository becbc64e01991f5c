// Grouped-query attention with soft-capped scores, forward pass. For one tile of queries at a time it computes scores,
// softmax and the weighted sum of values, all in a core's cache. Scores are stored as keys by queries, so softmax runs
// over all columns of a tile at once, and its result already is a packed panel for the product with the values.
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

struct ForwardArgs : AttentionArgs {
  Heads q, k, v;                           // q [heads, width, queries]; k, v [groups, width, columns]
  TensorView o;                            // [heads, width, queries]
  int64_t key_bytes = 0, value_bytes = 0;  // of one group
  char *keys = nullptr, *values = nullptr;
  const QueryBlock* block = nullptr;
};

// Packs keys in panels of keys, and values in panels of features.
template <class Tiles>
WPO_INLINE void pack_group(const ForwardArgs& args, int64_t group) {
  const int64_t from = group * args.width * args.columns;
  pack<Tiles, Tiles::kRows>(Heads::by_column(args.k, from), 0, args.columns, args.width,
                            args.keys + group * args.key_bytes, Tiles::pack_a);
  pack<Tiles, Tiles::kRows>(Heads::by_feature(args.v, from), 0, args.width, args.columns,
                            args.values + group * args.value_bytes, Tiles::pack_a);
}

// Turns scores s of N queries into unnormalised probabilities; `inverse_sums` gets the reciprocals of their sums. The
// keys are those of `slices`, in panels of W. Query i sees keys position_offset + i − window + 1 to position_offset +
// i.
template <int64_t N, int64_t W, bool Capped>
WPO_INLINE void softmax_columns(float* s, const std::vector<KeySlice>& slices, int32_t position_offset, int32_t window,
                                float factor, float cap, float* inverse_sums) {
  float maxima[N], sums[N] = {};
  for (int i = 0; i < N; i++) maxima[i] = Capped ? softmax_shift(cap) : -3.4e38f;
  if (!Capped)
    for (const KeySlice& slice : slices)
      for (int64_t c = slice.begin; c < slice.end; c++) {
        const float* row = s + (slice.columns_before + c - slice.first) * N;
        // queries [first, last) see this key
        const int32_t first = static_cast<int32_t>(c + slice.shift) - position_offset, last = first + window;
        for (int32_t i = 0; i < N; i++) {
          const float x = row[i] * factor;
          maxima[i] = i >= first && i < last && !(x <= maxima[i]) ? x : maxima[i];
        }
      }
  for (const KeySlice& slice : slices) {
    float* rows = s + slice.columns_before * N;
    const int64_t hidden = slice.begin - slice.first, depth = slice.depth();
    std::memset(rows, 0, hidden * N * sizeof(float));
    std::memset(rows + depth * N, 0, (round_up(depth, W) - depth) * N * sizeof(float));
    for (int64_t j = hidden; j < depth; j++) {
      float* row = rows + j * N;
      const int32_t first = static_cast<int32_t>(slice.first + j + slice.shift) - position_offset,
                    last = first + window;
      for (int32_t i = 0; i < N; i++) {
        const float x = row[i] * factor;
        const float e = fast_exp((Capped ? cap * fast_tanh(x) : x) - maxima[i]);
        row[i] = i >= first && i < last ? e : 0.0f;
        sums[i] += row[i];
      }
    }
  }
  for (int i = 0; i < N; i++) inverse_sums[i] = 1.0f / sums[i];
}

// Writes `rows` of a tile's `count` columns, times the factors of the columns, to o with leading dimension `ldo`.
template <int64_t N, class T>
WPO_INLINE void write_outputs(const float* sums, const float* factors, int64_t rows, int64_t count, T* o, int64_t ldo) {
  for (int64_t r = 0; r < rows; r++)
    for (int64_t i = 0; i < count; i++) store_float(o + r * ldo + i, sums[r * N + i] * factors[i]);
}

// Attention of queries [first, first + count) of a block, for one head. `work` has room for scores, packed queries and
// packed scores.
template <class Tiles>
WPO_INLINE void attend(const ForwardArgs& args, int64_t head, int64_t first, int64_t count, char* work) {
  constexpr int64_t M = Tiles::kRows, N = Tiles::kColumns;
  const QueryBlock& block = *args.block;
  const int64_t group = head / (args.heads / args.groups), column = block.start + first;
  const int64_t position = block.position_offset + first;
  const char* keys = args.keys + group * args.key_bytes;
  const char* values = args.values + group * args.value_bytes;
  const std::vector<KeySlice> slices =
      key_slices(block, std::max<int64_t>(0, position - block.window + 1), std::min(block.keys, position + count), M);
  const int64_t columns = panel_columns(slices, M);
  const int64_t key_bytes = packed_row_bytes<Tiles>(args.width), value_bytes = packed_row_bytes<Tiles>(args.columns);
  float* scores = reinterpret_cast<float*>(work);
  char *queries = work + columns * N * sizeof(float), *packed_scores = queries + N * key_bytes;
  float inverse_sums[N];

  Tiles::begin();
  Tiles::pack_b(Heads::by_column(args.q, head * args.width * args.queries + column), count, args.width, queries);
  for (const KeySlice& slice : slices)
    for (int64_t c = slice.first; c < slice.end; c += M)
      Tiles::multiply(args.width, keys + c * key_bytes, queries, scores + (slice.columns_before + c - slice.first) * N,
                      N, false);
  if (args.cap > 0)
    softmax_columns<N, M, true>(scores, slices, position, block.window, args.factor, args.cap, inverse_sums);
  else
    softmax_columns<N, M, false>(scores, slices, position, block.window, args.factor, args.cap, inverse_sums);
  if constexpr (Tiles::kRounds) {  // it is the probabilities that are rounded
    for (int64_t j = 0; j < columns; j++)
      for (int64_t i = 0; i < N; i++) scores[j * N + i] *= inverse_sums[i];
    for (int64_t i = 0; i < N; i++) inverse_sums[i] = 1;
  }
  const char* p = static_cast<const char*>(Tiles::as_panel_b(scores, columns, packed_scores));
  for (int64_t d = 0; d < args.width; d += M) {
    alignas(64) float sums[M * N];
    for (const KeySlice& slice : slices)
      Tiles::multiply(slice.depth(), values + d * value_bytes + slice.first * M * Tiles::kBytes,
                      p + slice.columns_before * N * Tiles::kBytes, sums, N, &slice != &slices.front());
    const int64_t rows = std::min(M, args.width - d);
    const int64_t at = (head * args.width + d) * args.queries + column;
    if (args.o.type == Type::kBfloat16)
      write_outputs<N>(sums, inverse_sums, rows, count, static_cast<Bf16*>(args.o.data) + at, args.queries);
    else
      write_outputs<N>(sums, inverse_sums, rows, count, static_cast<float*>(args.o.data) + at, args.queries);
  }
  Tiles::end();
}

struct IsaVariant {
  int64_t rows, columns, depth_step, bytes;  // as in FloatTiles
  void (*pack_group)(const ForwardArgs&, int64_t);
  void (*attend)(const ForwardArgs&, int64_t, int64_t, int64_t, char*);
};

#define WPO_TILES_VARIANT(name, target, ...)                                                                      \
  target void pack_group_##name(const ForwardArgs& args, int64_t group) { pack_group<__VA_ARGS__>(args, group); } \
  target void attend_##name(const ForwardArgs& args, int64_t head, int64_t first, int64_t count, char* work) {    \
    attend<__VA_ARGS__>(args, head, first, count, work);                                                          \
  }                                                                                                               \
  const IsaVariant name = {__VA_ARGS__::kRows,  __VA_ARGS__::kColumns, __VA_ARGS__::kDepthStep,                   \
                           __VA_ARGS__::kBytes, pack_group_##name,     attend_##name};
#include "gemm/tile-variants.h"

void attend_by(const IsaVariant& w, ForwardArgs args, const std::vector<QueryBlock>& blocks) {
  const int64_t columns = max_panel_columns(blocks, w.rows), width = round_up(args.width, w.depth_step);
  args.key_bytes = line_bytes(round_up(args.columns, w.rows) * width * w.bytes);
  args.value_bytes = line_bytes(round_up(args.width, w.rows) * round_up(args.columns, w.depth_step) * w.bytes);
  const int64_t floats = static_cast<int64_t>(sizeof(float)), scores = columns * w.columns;
  const int64_t work =
      line_bytes(scores * floats) + line_bytes(scores * w.bytes) + line_bytes(width * w.columns * w.bytes);
  const Scratch memory =
      allocate_scratch((args.groups * (args.key_bytes + args.value_bytes) + threads() * work) / floats + 1);
  args.keys = reinterpret_cast<char*>(memory.get());
  args.values = args.keys + args.groups * args.key_bytes;
  char* works = args.values + args.groups * args.value_bytes;

  parallel(args.groups, 2 * args.columns * args.width, [&](int64_t a, int64_t b, int) {
    for (int64_t g = a; g < b; g++) w.pack_group(args, g);
  });
  for (const QueryBlock& block : blocks) {
    args.block = &block;
    const int64_t tiles = (block.count + w.columns - 1) / w.columns;
    parallel(args.heads * tiles, w.columns * block.keys, [&](int64_t a, int64_t b, int thread) {
      for (int64_t i = a; i < b; i++) {
        const int64_t first = i % tiles * w.columns;
        w.attend(args, i / tiles, first, std::min(w.columns, block.count - first), works + thread * work);
      }
    });
  }
}

// q [heads, D, T], k, v [groups, D, S], query blocks, [factor, cap or 0] -> [heads, D, T]
void attention(OpContext& ctx) {
  const AttentionArgs shapes = read_attention_args(ctx, 0, 4);
  const std::vector<QueryBlock> blocks = read_query_blocks(ctx, 3, shapes);
  const Isa isa = selected_isa();
  const Precision precision = ctx.precision();
  const bool rounds = precision == Precision::kBfloat16;
  const TensorView o =
      rounds ? ctx.typed_output(0, ctx.shape(0)) : TensorView{ctx.output(0, ctx.shape(0)), ctx.shape(0)};
  if (shapes.queries == 0) return;
  const ForwardArgs args = {shapes, Heads(ctx.view(0)), Heads(ctx.view(1)), Heads(ctx.view(2)), o};
#ifdef WPO_AMX
  // in whole blocks of depths, hidden keys are multiplied by zeros: correct for finite values only
  if (isa == Isa::kAmx) {
    attend_by(rounds ? amx_bf16 : amx, args, blocks);
    if (all_finite(o)) return;
  }
#endif
  attend_by(variant(isa, precision), args, blocks);
}

}  // namespace

void register_attention_forward() { register_kernel<attention>("WpoAttention"); }

}  // namespace wpo
