// The checks of elementwise operations' inputs, for the CPU's kernels and the GPU's.
#pragma once
#include "runtime/operation.h"

namespace wpo {

// gate, up
inline void require_geglu(const OpContext& ctx) {
  require_one_type(ctx, 0, "gate and up");
  require(ctx.size(0) == ctx.size(1), "expected gate and up of one size, found ", ctx.shape(0), " and ", ctx.shape(1));
}

// dy, gate, up
inline void require_geglu_gradient(const OpContext& ctx) {
  require_one_type(ctx, 1, "gate and up");
  require(ctx.size(0) == ctx.size(1) && ctx.size(1) == ctx.size(2), "expected dy, gate and up of one size, found ",
          ctx.shape(0), ", ", ctx.shape(1), " and ", ctx.shape(2));
}

// x [T, features], or by feature [features, T]; keys [T]; [threshold as bits, factor, 1 where by feature]
struct DropoutArgs {
  int64_t tokens, features;
  uint32_t threshold;
  float factor;
  bool by_feature;
};
inline DropoutArgs read_dropout(const OpContext& ctx) {
  const float* params = ctx.params(2, 3, "threshold, factor, whether by feature");
  const bool by_feature = params[2] != 0;
  const int64_t tokens = by_feature ? ctx.width(0) : ctx.shape(0).empty() ? 1 : ctx.shape(0)[0];
  require(ctx.size(1) == tokens, "expected a key for each of ", tokens, " tokens, found ", ctx.size(1));
  const int64_t features = tokens == 0 ? 0 : ctx.size(0) / tokens;
  return {tokens, features, static_cast<uint32_t>(*ctx.input<int32_t>(2)), params[1], by_feature};
}

// x [rows, H], w [H], [epsilon, 1 where a residual is added], the residual [rows, H] or any tensor
struct RmsNormArgs {
  int64_t rows, width;
  float epsilon;
  bool has_residual;
};
inline RmsNormArgs read_rms_norm(const OpContext& ctx) {
  const float* params = ctx.params(2, 2, "epsilon, whether a residual is added");
  const RmsNormArgs args = {ctx.rows(0), ctx.width(0), params[0], params[1] != 0};
  require(ctx.size(1) == args.width, "expected a weight of x's width ", args.width, ", found ", ctx.shape(1));
  require(!args.has_residual || ctx.size(3) == ctx.size(0), "expected a residual of x's shape ", ctx.shape(0),
          ", found ", ctx.shape(3));
  return args;
}

// dy [n, H], x [n, H], r [n, 1], w [H]
inline void require_rms_norm_gradient(const OpContext& ctx) {
  require(ctx.size(0) == ctx.size(1) && ctx.size(2) == ctx.rows(1) && ctx.size(3) == ctx.width(1),
          "expected dy [n, H], x [n, H], r [n, 1] and w [H], found ", ctx.shape(0), ", ", ctx.shape(1), ", ",
          ctx.shape(2), " and ", ctx.shape(3));
}

// x [heads, D, T], cos and sin [D, T], [direction]: returns 1, or −1 for the gradient
inline float read_rope_direction(const OpContext& ctx) {
  const Shape& x = ctx.shape(0);
  require(x.size() == 3 && x[1] % 2 == 0 && ctx.size(1) == saturated_product(x[1], x[2]) && ctx.size(2) == ctx.size(1),
          "expected x [heads, D, T] with even D, cos and sin [D, T], found ", x, ", ", ctx.shape(1), " and ",
          ctx.shape(2));
  return *ctx.params(3, 1, "direction");
}

// raw [A, V], targets [A], [cap or 0, 1 to train]
struct AnswerTermsArgs {
  int64_t rows, vocabulary;
  float cap;
  bool train;
};
inline AnswerTermsArgs read_answer_terms(const OpContext& ctx) {
  const float* params = ctx.params(2, 2, "cap, whether to train");
  const AnswerTermsArgs args = {ctx.rows(0), ctx.width(0), params[0], params[1] != 0};
  require(ctx.size(1) == args.rows, "expected a target for each of ", args.rows, " rows, found ", ctx.size(1));
  require_indices(ctx.input<int32_t>(1), args.rows, args.vocabulary, "target");
  return args;
}

// logits, [cap]
inline float read_cap(const OpContext& ctx) {
  const float cap = *ctx.params(1, 1, "cap");
  require(cap > 0, "expected a cap above 0, found ", cap);
  return cap;
}

// into, x
inline void require_add(const OpContext& ctx) {
  require(ctx.size(0) == ctx.size(1), "expected tensors of one size, found ", ctx.shape(0), " and ", ctx.shape(1));
}

// Inputs `indices` [n] and `indices` + 1, x [n, width]: rows of x that are added to those of a tensor [count, width]
inline void require_added_rows(const OpContext& ctx, int indices, int64_t count, int64_t width) {
  const int64_t n = ctx.size(indices);
  require(ctx.size(indices + 1) == saturated_product(n, width), "expected a row of ", width, " values for each of ", n,
          " indices, found ", ctx.shape(indices + 1));
  require_indices(ctx.input<int32_t>(indices), n, count, "row");
}

// indices [n], x [n, H], [V]: returns V
inline int64_t read_spread_rows(const OpContext& ctx) {
  require(ctx.size(2) == 1, "expected one row count, found ", ctx.size(2));
  const int64_t count = *ctx.input<int32_t>(2);
  require(count >= 0, "expected a row count of 0 or more, found ", count);
  require_added_rows(ctx, 0, count, ctx.width(1));
  return count;
}

// x [V, H], indices [n], [factor]: returns the factor
inline float read_scaled_rows(const OpContext& ctx) {
  require_indices(ctx.input<int32_t>(1), ctx.size(1), ctx.rows(0), "row");
  return *ctx.params(2, 1, "factor");
}

// into [K, D, C], columns [n], values [K, D, n]
inline void require_set_columns(const OpContext& ctx) {
  const int64_t n = ctx.size(1);
  require(ctx.size(2) == saturated_product(ctx.rows(0), n), "expected values of ", ctx.rows(0), " rows for each of ", n,
          " columns, found ", ctx.shape(2));
  require_indices(ctx.input<int32_t>(1), n, ctx.width(0), "column");
}

}  // namespace wpo
