// Attention with the kernels of fused-attention.cu: q, k and v are rounded to bfloat16, and no matrix of scores is
// made.
#include "gpu/fused-attention.h"

#include <string>
#include <vector>

#include "gpu/operation.h"
#include "gpu/visible-keys.h"

namespace wpo {
namespace {

constexpr int64_t kPadded = 64;  // T′ and S′ are multiples of it: whole numbers of tiles of every size
constexpr int kWarp = 32;

// For each tile the tiles of the other side, as fused-attention.cu describes them.
struct TileLists {
  std::vector<int32_t> starts = {0}, tiles;
};

// Which keys each query sees.
class Visibility {
 public:
  Visibility(const AttentionArgs& a, const std::vector<QueryBlock>& blocks)
      : queries(round_up(a.queries)), keys(round_up(a.columns)) {
    require(visible_columns(blocks, &visible_), "expected queries that see at most two ranges of keys, found more");
    visible_.resize(4 * queries);
  }
  const std::vector<int32_t>& visible() const { return visible_; }

  // For each tile of queries the tiles of keys; `by_keys`: for each tile of keys those of queries.
  TileLists lists(int64_t tile_queries, int64_t tile_keys, bool by_keys) const {
    const int64_t rows = queries / tile_queries, columns = keys / tile_keys;
    const std::vector<Seen> seen = seen_tiles(tile_queries, tile_keys);
    TileLists lists;
    for (int64_t i = 0; i < (by_keys ? columns : rows); i++) {
      for (int64_t j = 0; j < (by_keys ? rows : columns); j++) {
        const Seen tile = seen[by_keys ? j * columns + i : i * columns + j];
        if (tile != Seen::kNothing) lists.tiles.push_back(static_cast<int32_t>(2 * j + (tile == Seen::kAll)));
      }
      lists.starts.push_back(static_cast<int32_t>(lists.tiles.size()));
    }
    return lists;
  }

  const int64_t queries, keys;  // rounded up

 private:
  enum class Seen : uint8_t { kNothing, kSome, kAll };
  static int64_t round_up(int64_t n) { return (n + kPadded - 1) / kPadded * kPadded; }

  // [tiles of queries, tiles of keys]
  std::vector<Seen> seen_tiles(int64_t tile_queries, int64_t tile_keys) const {
    const int64_t columns = keys / tile_keys;
    std::vector<Seen> seen;
    for (int64_t first = 0; first < queries; first += tile_queries) {
      // changes, from one tile of keys to the next, of the number of ranges that touch or contain it
      std::vector<int64_t> touching(columns + 1), containing(columns + 1);
      for (int64_t range = 2 * first; range < 2 * (first + tile_queries); range++) {
        const int64_t begin = visible_[2 * range], end = visible_[2 * range + 1];
        if (begin == end) continue;
        touching[begin / tile_keys]++, touching[(end - 1) / tile_keys + 1]--;
        const int64_t low = (begin + tile_keys - 1) / tile_keys, high = end / tile_keys;
        if (low < high) containing[low]++, containing[high]--;
      }
      int64_t touches = 0, contains = 0;
      for (int64_t j = 0; j < columns; j++) {
        touches += touching[j], contains += containing[j];
        seen.push_back(contains == tile_queries ? Seen::kAll : touches > 0 ? Seen::kSome : Seen::kNothing);
      }
    }
    return seen;
  }

  std::vector<int32_t> visible_;
};

AttentionTiles require_tiles(int64_t head_size) {
  const std::optional<AttentionTiles> tiles = fused_tiles(head_size);
  if (!tiles) fail("expected a head size for which this GPU has fused attention, found ", head_size);
  return *tiles;
}

int is_narrow(GpuContext& ctx, int i) { return ctx.view(i).type == Type::kBfloat16; }

// Input i [heads, D, n], rounded to bfloat16 in rows of `padded` values, with zeros after the n-th.
const Bf16* padded_input(GpuContext& ctx, int i, int64_t padded) {
  const int64_t lines = ctx.rows(i), values = ctx.width(i);
  Bf16* y = ctx.scratch<Bf16>(checked_product(lines, padded));
  const void* x = ctx.view(i).data;
  ctx.launch_values("round_padded_bf16", lines * padded, x, is_narrow(ctx, i), y, values, padded);
  return y;
}

// A call's arguments as the kernels take them.
struct Call {
  Call(GpuContext& ctx, const AttentionArgs& a, const std::vector<QueryBlock>& blocks)
      : visibility(a, blocks),
        tiles(require_tiles(a.width)),
        visible(ctx.upload(visibility.visible())),
        queries(as_int(a.queries)),
        keys(as_int(a.columns)),
        q_ld(as_int(visibility.queries)),
        k_ld(as_int(visibility.keys)),
        heads(as_int(a.heads)),
        groups(as_int(a.groups)),
        group(as_int(a.group_heads())) {}

  static int as_int(int64_t n) {
    require(n <= kMaxPosition, "expected at most 2^30 heads, queries and keys, found ", n);
    return static_cast<int>(n);
  }

  const Visibility visibility;
  const AttentionTiles tiles;
  const int32_t* visible;
  int queries, keys, q_ld, k_ld, heads, groups, group;
};

void fused_attention(GpuContext& ctx) {
  const AttentionArgs a = read_attention_args(ctx, 0, 4);
  const Call call(ctx, a, read_query_blocks(ctx, 3, a));
  const TensorView o = ctx.typed_output(0, ctx.shape(0));
  const int narrow = o.type == Type::kBfloat16;
  float* log_sums = ctx.output(1, {a.heads, a.queries});
  const Bf16* q = padded_input(ctx, 0, call.q_ld);
  const Bf16 *k = padded_input(ctx, 1, call.k_ld), *v = padded_input(ctx, 2, call.k_ld);
  const TileLists lists = call.visibility.lists(AttentionTiles::kQueries, AttentionTiles::kKeys, false);
  ctx.launch_fused(call.tiles, "attention_forward", a.heads * call.q_ld / AttentionTiles::kQueries, 4 * kWarp,
                   call.tiles.forward_bytes(), q, k, v, call.visible, ctx.upload(lists.starts), ctx.upload(lists.tiles),
                   o.data, narrow, log_sums, call.queries, call.q_ld, call.k_ld, call.heads, call.group, a.factor,
                   a.cap);
}

void fused_attention_gradient(GpuContext& ctx) {
  const AttentionArgs a = read_attention_args(ctx, 1, 7);
  for (const int i : {0, 4})
    require(ctx.shape(i) == ctx.shape(1), "expected dy and o of q's shape ", ctx.shape(1), ", found ", ctx.shape(i));
  require(ctx.size(5) == a.heads * a.queries, "expected a log-sum of each of ", a.heads * a.queries, " rows, found ",
          ctx.size(5));
  const Call call(ctx, a, read_query_blocks(ctx, 6, a));
  const AttentionTiles& tiles = call.tiles;
  float *dq = ctx.output(0, ctx.shape(1)), *dk = ctx.output(1, ctx.shape(2)), *dv = ctx.output(2, ctx.shape(2));
  const Bf16 *dy = padded_input(ctx, 0, call.q_ld), *q = padded_input(ctx, 1, call.q_ld);
  const Bf16 *k = padded_input(ctx, 2, call.k_ld), *v = padded_input(ctx, 3, call.k_ld);
  const float* log_sums = ctx.input(5);
  float* deltas = ctx.scratch(a.heads * a.queries);
  ctx.launch_values("attention_deltas", a.heads * a.queries, ctx.view(0).data, is_narrow(ctx, 0), ctx.view(4).data,
                    is_narrow(ctx, 4), deltas, a.width, a.queries);

  const TileLists key_tiles =
      call.visibility.lists(AttentionTiles::kQueries, AttentionTiles::kQueryGradientKeys, false);
  ctx.launch_fused(tiles, "attention_query_gradient", a.heads * call.q_ld / AttentionTiles::kQueries, 4 * kWarp,
                   tiles.query_gradient_bytes(), dy, q, k, v, call.visible, ctx.upload(key_tiles.starts),
                   ctx.upload(key_tiles.tiles), log_sums, deltas, dq, call.queries, call.q_ld, call.k_ld, call.heads,
                   call.group, a.factor, a.cap);
  const TileLists query_tiles = call.visibility.lists(AttentionTiles::kKeyGradientQueries, tiles.gradient_keys, true);
  ctx.launch_fused(tiles, "attention_key_gradient", a.groups * call.k_ld / tiles.gradient_keys,
                   tiles.gradient_keys / 8 * kWarp, tiles.key_gradient_bytes(), dy, q, k, v, call.visible,
                   ctx.upload(query_tiles.starts), ctx.upload(query_tiles.tiles), log_sums, deltas, dk, dv,
                   call.queries, call.keys, call.q_ld, call.k_ld, call.groups, call.group, a.factor, a.cap);
}

}  // namespace

void register_gpu_fused_attention() {
  register_gpu_kernel<fused_attention>("WpoFusedAttention");
  register_gpu_kernel<fused_attention_gradient>("WpoFusedAttentionGrad");
}

}  // namespace wpo
