// Grouped-query attention with soft-capped scores, forward and backward. Inputs and outputs as in attention/.
#include <algorithm>
#include <type_traits>
#include <vector>

#include "attention/query-blocks.h"
#include "gpu/operation.h"
#include "gpu/visible-keys.h"

namespace wpo {
namespace {

// The queries of one query block, or of several joined, and the keys of their scores. `visible`: for each query two
// ranges of scores that it sees, each as begin and end.
struct ScoreBlock {
  int64_t start, count, keys;
  std::vector<KeyRange> ranges;
  std::vector<int32_t> visible;
};

ScoreBlock score_block(const QueryBlock& block) {
  ScoreBlock scores = {block.start, block.count, block.keys, block.ranges, {}};
  for_each_query(block, [&](int64_t low, int64_t high) {
    for (int64_t n : {low, high, int64_t{0}, int64_t{0}}) scores.visible.push_back(static_cast<int32_t>(n));
  });
  return scores;
}

// Joins all query blocks into one score block of all queries by all key columns, most of them masked. Returns false if
// a query sees more than two ranges.
bool join(const AttentionArgs& a, const std::vector<QueryBlock>& blocks, ScoreBlock* joined) {
  *joined = {0, a.queries, a.columns, {{0, a.columns}}, {}};
  return visible_columns(blocks, &joined->visible);
}

// One score block per query block; or one for all, if there are few scores and computing the masked ones takes less
// time than launching products for each query block.
std::vector<ScoreBlock> score_blocks(const AttentionArgs& a, const std::vector<QueryBlock>& blocks) {
  int64_t ranges = 0, scores = 0;
  for (const QueryBlock& block : blocks)
    ranges += static_cast<int64_t>(block.ranges.size()), scores += block.count * block.keys;
  ScoreBlock joined;
  const int64_t masked = (a.queries * a.columns - scores) * a.width * a.heads;
  const bool few = a.heads * a.queries * a.columns <= platform.max_joined_scores;
  if (few && masked < (ranges - 1) * a.group_heads() * platform.launch_cost && join(a, blocks, &joined))
    return {joined};
  std::vector<ScoreBlock> separate;
  for (const QueryBlock& block : blocks) separate.push_back(score_block(block));
  return separate;
}

// Products of a block's queries with one range of its keys. `before` is the number of the block's keys before the
// range. T: the type of operands, float or Bf16.
template <class T>
class BlockProducts {
 public:
  BlockProducts(GpuContext& ctx, const AttentionArgs& a, const ScoreBlock& block) : ctx_(ctx), a_(a), block_(block) {}

  // scores [heads, count, keys] = xᵀ · y, where x has queries and y has keys as columns
  void scores(const T* x, const T* y, const KeyRange& keys, int64_t before, float* scores) {
    for (int64_t g = 0; g < a_.group_heads(); g++)
      ctx_.device().multiply(GemmArgs<T>{true, false, block_.count, keys.count, a_.width, query(x, g), a_.queries,
                                         query_stride(), y + keys.start, a_.columns, key_stride(), 0.0f,
                                         score(scores, g) + before, block_.keys, score_stride(), a_.groups});
  }
  // x += y · scoresᵀ; the first range sets x
  void to_queries(const T* y, const T* scores, const KeyRange& keys, int64_t before, float* x) {
    for (int64_t g = 0; g < a_.group_heads(); g++)
      ctx_.device().multiply(GemmArgs<T>{false, true, a_.width, block_.count, keys.count, y + keys.start, a_.columns,
                                         key_stride(), score(scores, g) + before, block_.keys, score_stride(),
                                         before > 0 ? 1.0f : 0.0f, query(x, g), a_.queries, query_stride(), a_.groups});
  }
  // y += x · scores, over all heads of a group
  void to_keys(const T* x, const T* scores, const KeyRange& keys, int64_t before, float* y) {
    for (int64_t g = 0; g < a_.group_heads(); g++)
      ctx_.device().multiply(GemmArgs<T>{false, false, a_.width, keys.count, block_.count, query(x, g), a_.queries,
                                         query_stride(), score(scores, g) + before, block_.keys, score_stride(), 1.0f,
                                         y + keys.start, a_.columns, key_stride(), a_.groups});
  }

 private:
  template <class V>
  V* query(V* x, int64_t g) const {
    return x + g * a_.width * a_.queries + block_.start;
  }
  template <class V>
  V* score(V* x, int64_t g) const {
    return x + g * block_.count * block_.keys;
  }
  int64_t query_stride() const { return a_.group_heads() * a_.width * a_.queries; }
  int64_t key_stride() const { return a_.width * a_.columns; }
  int64_t score_stride() const { return a_.group_heads() * block_.count * block_.keys; }

  GpuContext& ctx_;
  const AttentionArgs& a_;
  const ScoreBlock& block_;
};

// Calls use(range, keys before it) for each key range of a block.
template <class Use>
void for_each_range(const ScoreBlock& block, Use use) {
  int64_t before = 0;
  for (const KeyRange& range : block.ranges) {
    if (range.count > 0) use(range, before);
    before += range.count;
  }
}

int64_t max_scores(const AttentionArgs& a, const std::vector<ScoreBlock>& blocks) {
  int64_t most = 0;
  for (const ScoreBlock& block : blocks) most = std::max(most, a.heads * block.count * block.keys);
  return most;
}

// Values as operands of products: float values as they are, or rounded to Bf16 in `room`.
template <class T>
const T* operand(GpuContext& ctx, const float* x, int64_t count, T* room) {
  if constexpr (std::is_same_v<T, float>) {
    return x;
  } else {
    ctx.round(x, 1, count, count, room, count);
    return room;
  }
}
// Room for `count` operands, if they are rounded.
template <class T>
T* operand_room(GpuContext& ctx, int64_t count) {
  return std::is_same_v<T, float> ? nullptr : ctx.scratch<T>(count);
}
template <class T>
const T* operand(GpuContext& ctx, int input) {
  if (std::is_same_v<T, Bf16> && ctx.view(input).type == Type::kBfloat16) return ctx.input<T>(input);
  return operand(ctx, ctx.input(input), ctx.size(input), operand_room<T>(ctx, ctx.size(input)));
}

template <class T>
void attention_of(GpuContext& ctx) {
  const AttentionArgs a = read_attention_args(ctx, 0, 4);
  const std::vector<ScoreBlock> blocks = score_blocks(a, read_query_blocks(ctx, 3, a));
  float* o = ctx.output(0, ctx.shape(0));
  const int64_t most = max_scores(a, blocks);
  float* scores = ctx.scratch(most);
  T* room = operand_room<T>(ctx, most);
  const T *q = operand<T>(ctx, 0), *k = operand<T>(ctx, 1), *v = operand<T>(ctx, 2);
  for (const ScoreBlock& block : blocks) {
    BlockProducts<T> products(ctx, a, block);
    for_each_range(block, [&](const KeyRange& keys, int64_t before) { products.scores(q, k, keys, before, scores); });
    ctx.launch_rows("softmax", a.heads * block.count, scores, ctx.upload(block.visible), block.count, block.keys,
                    a.factor, a.cap);
    const T* p = operand(ctx, scores, a.heads * block.count * block.keys, room);
    for_each_range(block, [&](const KeyRange& keys, int64_t before) { products.to_queries(v, p, keys, before, o); });
  }
}

void attention(GpuContext& ctx) {
  ctx.precision() == Precision::kBfloat16 ? attention_of<Bf16>(ctx) : attention_of<float>(ctx);
}

template <class T>
void attention_gradient_of(GpuContext& ctx) {
  require(ctx.shape(0) == ctx.shape(1), "expected dy of q's shape ", ctx.shape(1), ", found ", ctx.shape(0));
  const AttentionArgs a = read_attention_args(ctx, 1, 5);
  const std::vector<ScoreBlock> blocks = score_blocks(a, read_query_blocks(ctx, 4, a));
  float *dq = ctx.output(0, ctx.shape(1)), *dk = ctx.output(1, ctx.shape(2)), *dv = ctx.output(2, ctx.shape(2));
  ctx.device().zero(dk, ctx.size(2));
  ctx.device().zero(dv, ctx.size(2));
  const int64_t most = max_scores(a, blocks);
  float *scores = ctx.scratch(most), *dscores = ctx.scratch(most);
  T *p_room = operand_room<T>(ctx, most), *ds_room = operand_room<T>(ctx, most);
  const T *dy = operand<T>(ctx, 0), *q = operand<T>(ctx, 1), *k = operand<T>(ctx, 2), *v = operand<T>(ctx, 3);
  for (const ScoreBlock& block : blocks) {
    BlockProducts<T> products(ctx, a, block);
    for_each_range(block, [&](const KeyRange& keys, int64_t before) {
      products.scores(q, k, keys, before, scores);
      products.scores(dy, v, keys, before, dscores);
    });
    ctx.launch_rows("softmax_gradient", a.heads * block.count, scores, dscores, ctx.upload(block.visible), block.count,
                    block.keys, a.factor, a.cap);
    const int64_t count = a.heads * block.count * block.keys;
    const T *p = operand(ctx, scores, count, p_room), *ds = operand(ctx, dscores, count, ds_room);
    for_each_range(block, [&](const KeyRange& keys, int64_t before) {
      products.to_keys(dy, p, keys, before, dv);
      products.to_keys(q, ds, keys, before, dk);
      products.to_queries(k, ds, keys, before, dq);
    });
  }
}

void attention_gradient(GpuContext& ctx) {
  ctx.precision() == Precision::kBfloat16 ? attention_gradient_of<Bf16>(ctx) : attention_gradient_of<float>(ctx);
}

void decode_attention(GpuContext& ctx) {
  const AttentionArgs a = read_attention_args(ctx, 0, 4);
  const int64_t longest = read_key_ranges(ctx, 3, a);
  const float *q = ctx.input(0), *k = ctx.input(1), *v = ctx.input(2);
  float* o = ctx.output(0, ctx.shape(0));
  float* work = ctx.scratch(a.heads * a.queries * longest);
  ctx.launch_rows("decode_attention", a.heads * a.queries, q, k, v, ctx.upload(ctx.input<int32_t>(3), 2 * a.queries),
                  work, o, a.width, a.queries, a.columns, a.group_heads(), longest, a.factor, a.cap,
                  static_cast<int>(ctx.precision() == Precision::kBfloat16));
}

}  // namespace

void register_gpu_attention() {
  register_gpu_kernel<attention>("WpoAttention");
  register_gpu_kernel<attention_gradient>("WpoAttentionGrad");
  register_gpu_kernel<decode_attention>("WpoDecodeAttention");
}

}  // namespace wpo
