// Attention in generation: one query per sequence, over cached keys and values.
#include <type_traits>

#include "attention/query-blocks.h"
#include "runtime/operation.h"
#include "runtime/parallel.h"
#include "runtime/scratch.h"
#include "runtime/vector-math.h"

namespace wpo {
namespace {

// One query of one head: q and o [D] with stride `queries`; k and v [D, C], starting at the query's first key column; s
// keys. T: how operands of products are loaded, float or RoundedFloat.
template <class T>
WPO_INLINE void attend_as(int64_t d, int64_t count, int64_t queries, int64_t s, float factor, float cap, const T* q,
                          const T* k, const T* v, float* p, float* o) {
  for (int64_t j = 0; j < s; j++) p[j] = 0.0f;
  for (int64_t i = 0; i < d; i++) {
    const float qi = load_float(q + i * queries) * factor;
    const T* ki = k + i * count;
    for (int64_t j = 0; j < s; j++) p[j] += qi * load_float(ki + j);
  }
  if (cap > 0) {
    for (int64_t j = 0; j < s; j++) p[j] = fast_exp(cap * (fast_tanh(p[j]) - 1.0f));
  } else {
    float most = p[0];
    for (int64_t j = 1; j < s; j++) most = p[j] > most ? p[j] : most;
    for (int64_t j = 0; j < s; j++) p[j] = fast_exp(p[j] - most);
  }
  float share = 1.0f / sum_of(0, s, [=](int64_t j) WPO_INLINE_LAMBDA { return p[j]; });
  if constexpr (!std::is_same_v<T, float>) {  // it is the probabilities that are rounded
    for (int64_t j = 0; j < s; j++) {
      const float probability = p[j] * share;
      p[j] = load_float(reinterpret_cast<const RoundedFloat*>(&probability));
    }
    share = 1;
  }
  for (int64_t i = 0; i < d; i++) {
    const T* vi = v + i * count;
    o[i * queries] = share * sum_of(0, s, [=](int64_t j) WPO_INLINE_LAMBDA { return p[j] * load_float(vi + j); });
  }
}
WPO_TARGET_CLONES void attend(int64_t d, int64_t count, int64_t queries, int64_t s, float factor, float cap,
                              const float* q, const float* k, const float* v, float* p, float* o) {
  attend_as(d, count, queries, s, factor, cap, q, k, v, p, o);
}
WPO_TARGET_CLONES void attend_rounded(int64_t d, int64_t count, int64_t queries, int64_t s, float factor, float cap,
                                      const float* q, const float* k, const float* v, float* p, float* o) {
  const auto rounded = [](const float* x) WPO_INLINE_LAMBDA { return reinterpret_cast<const RoundedFloat*>(x); };
  attend_as(d, count, queries, s, factor, cap, rounded(q), rounded(k), rounded(v), p, o);
}

// q [heads, D, B], k and v [groups, D, C], key ranges [B, 2], [factor, cap or 0] -> o [heads, D, B]
void decode_attention(OpContext& ctx) {
  const AttentionArgs a = read_attention_args(ctx, 0, 4);
  const int64_t longest = read_key_ranges(ctx, 3, a), group = a.group_heads();
  const int32_t* ranges = ctx.input<int32_t>(3);
  const float *q = ctx.input(0), *k = ctx.input(1), *v = ctx.input(2);
  float* o = ctx.output(0, ctx.shape(0));
  const Scratch scores = allocate_scratch(checked_product(threads(), longest));
  float* scratch = scores.get();
  const auto attend_query = ctx.precision() == Precision::kBfloat16 ? attend_rounded : attend;
  parallel(saturated_product(a.heads, a.queries), saturated_product(2, a.width, longest),
           [=](int64_t begin, int64_t end, int thread) {
             for (int64_t i = begin; i < end; i++) {
               const int64_t head = i / a.queries, query = i % a.queries;
               const int64_t from = head / group * a.width * a.columns + ranges[2 * query];
               const int64_t at = head * a.width * a.queries + query;
               attend_query(a.width, a.columns, a.queries, ranges[2 * query + 1], a.factor, a.cap, q + at, k + from,
                            v + from, scratch + thread * longest, o + at);
             }
           });
}

}  // namespace

void register_decode_attention() { register_kernel<decode_attention>("WpoDecodeAttention"); }

}  // namespace wpo
