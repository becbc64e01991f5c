// The checks of elementwise operations' inputs, for the CPU's kernels and the GPU's.
#pragma once
#include "runtime/operation.h"

namespace wpo {

// gate, up
inline void require_geglu(const OpContext& ctx) {
  require(ctx.size(0) == ctx.size(1), "expected gate and up of one size, found ", ctx.shape(0), " and ", ctx.shape(1));
}

// dy, gate, up
inline void require_geglu_gradient(const OpContext& ctx) {
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

// The list of tensors of an optimizer: `each` for each parameter, of the sizes that size_of(k, first) gives for tensor
// k of the parameter whose value is input `first`.
template <class SizeOf>
void require_tensors(const OpContext& ctx, int each, const char* what, SizeOf size_of) {
  require(ctx.num_inputs() % each == 1 % each, "expected ", each, " tensors for each parameter, found ",
          ctx.num_inputs() - 1);
  for (int i = 1; i < ctx.num_inputs(); i++) {
    const int k = (i - 1) % each, first = i - k;
    const int64_t expected = size_of(k, first);
    require(ctx.size(i) == expected, "expected ", what, " of parameter ", (i - 1) / each, " with shape ",
            ctx.shape(first), " to have ", expected, " values in tensor ", k, ", found ", ctx.shape(i));
  }
}
// All of the value's size.
inline void require_equal_tensors(const OpContext& ctx, int each, const char* what) {
  require_tensors(ctx, each, what, [&](int, int first) { return ctx.size(first); });
}

// [scale, 1 − β₁, β₂, 1 − β₂, ε, step size, bias correction, decay factor], then value, both moments and gradient of
// each parameter
struct AdamWParams {
  float scale, one_minus_beta1, beta2, one_minus_beta2, epsilon, step_size, bias_correction2_sqrt, decay_factor;
};
constexpr int kAdamWParams = 8;
inline AdamWParams adamw_params(const float* a) { return {a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]}; }
inline AdamWParams read_adamw(const OpContext& ctx) {
  const float* a = ctx.params(0, kAdamWParams,
                              "scale, 1 - beta1, beta2, 1 - beta2, epsilon, step size, bias correction, decay factor");
  require_equal_tensors(ctx, 4, "value, moments and gradient");
  return adamw_params(a);
}

// The same scalars, a signed and an unsigned map of codes; then value, codes and scales of the first moment, those of
// the second moment or the moment itself, and gradient of each parameter. Four codes are in the bytes of a float.
constexpr int64_t kBlock = 256;
constexpr int kCodes = 256;
inline int64_t blocks_of(int64_t size) { return (size + kBlock - 1) / kBlock; }
struct AdamW8bitParams {
  AdamWParams adamw;
  const float *signed_map, *unsigned_map;
};
inline int tensors_of_adamw_8bit(bool second_encoded) { return second_encoded ? 6 : 5; }
inline AdamW8bitParams read_adamw_8bit(const OpContext& ctx, bool second_encoded) {
  const float* a = ctx.params(0, kAdamWParams + 2 * kCodes, "those of WpoAdamW, and two maps");
  require_tensors(ctx, tensors_of_adamw_8bit(second_encoded), "value, codes, scales and gradient",
                  [&](int k, int first) {
                    const int64_t size = ctx.size(first);
                    if (k == 1 || (k == 3 && second_encoded)) return (size + 3) / 4;
                    if (k == 2 || (k == 4 && second_encoded)) return blocks_of(size);
                    return size;
                  });
  return {adamw_params(a), a + kAdamWParams, a + kAdamWParams + kCodes};
}

// [scale, β₁, 1 − β₁, β₂, 1 − β₂, learning rate, decay factor], then value, momentum and gradient of each parameter
struct LionParams {
  float scale, beta1, one_minus_beta1, beta2, one_minus_beta2, learning_rate, decay_factor;
};
inline LionParams read_lion(const OpContext& ctx) {
  const float* a = ctx.params(0, 7, "scale, beta1, 1 - beta1, beta2, 1 - beta2, learning rate, decay factor");
  require_equal_tensors(ctx, 3, "value, momentum and gradient");
  return {a[0], a[1], a[2], a[3], a[4], a[5], a[6]};
}

// [scale, learning rate, weight decay], then value and gradient of each parameter
struct SgdParams {
  float scale, learning_rate, weight_decay;
};
inline SgdParams read_sgd(const OpContext& ctx) {
  const float* a = ctx.params(0, 3, "scale, learning rate, weight decay");
  require_equal_tensors(ctx, 2, "value and gradient");
  return {a[0], a[1], a[2]};
}

// [scale, β₂, 1 − β₂, learning rate, decay factor], then of each matrix value, averages of rows and columns, gradient
struct AdafactorParams {
  float scale, beta2, one_minus_beta2, learning_rate, decay_factor;
};
inline AdafactorParams adafactor_params(const OpContext& ctx) {
  const float* a = ctx.params(0, 5, "scale, beta2, 1 - beta2, learning rate, decay factor");
  return {a[0], a[1], a[2], a[3], a[4]};
}
inline AdafactorParams read_adafactor(const OpContext& ctx) {
  require_tensors(ctx, 4, "value, averages of rows and columns, and gradient", [&](int k, int first) {
    const Shape& shape = ctx.shape(first);
    require(shape.size() >= 2, "expected a matrix, found a value of shape ", shape);
    if (k == 1) return ctx.rows(first);
    if (k == 2) return element_count({shape.begin(), shape.end() - 2}) * shape.back();
    return ctx.size(first);
  });
  return adafactor_params(ctx);
}
// The same of vectors: value, averages, gradient.
inline AdafactorParams read_adafactor_vector(const OpContext& ctx) {
  require_equal_tensors(ctx, 3, "value, averages and gradient");
  return adafactor_params(ctx);
}

}  // namespace wpo
