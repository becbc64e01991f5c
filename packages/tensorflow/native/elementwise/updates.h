// The inputs of optimizers' operations, and their checks, for the CPU's kernels and the GPU's.
//
// They are [scalars]; [keys]; then of each parameter its value, perhaps the low bits of its value, its state and its
// gradient. All values of a call are held in one way (trainer/src/policy.ts says what each is for):
//
//   float32
//   bfloat16 and low bits (int16)   the value is the float32 number with the bits (bfloat16 << 16) + low bits
//   bfloat16                        a new value is rounded up or down at random; there is a key for each parameter
#pragma once
#include "runtime/operation.h"

namespace wpo {

// A parameter's value. Its float32 numbers are `values`, or if that is null, as `high` and `low` or `key` say.
struct UpdatedValue {
  float* values;
  Bf16* high;
  int16_t* low;
  uint32_t key;
};

// A tensor of the state: its type, and how many values it has for a parameter with this shape.
struct StateTensor {
  Type type;
  int64_t (*size)(const Shape& value);
};

// The parameters of a call.
class Updates {
 public:
  Updates(const OpContext& ctx, const std::vector<StateTensor>& state, const char* what) : ctx_(ctx) {
    const int tensors = ctx.num_inputs() - kFirst;
    type_ = ctx.view(kFirst).type;
    require(type_ == Type::kFloat32 || type_ == Type::kBfloat16, "expected values in float32 or bfloat16, found ",
            name_of(type_));
    has_low_ = tensors > 1 && type_ == Type::kBfloat16 && ctx.view(kFirst + 1).type == Type::kInt16;
    each_ = 2 + has_low_ + static_cast<int>(state.size());
    require(tensors % each_ == 0, "expected ", each_, " tensors for each parameter, found ", tensors);
    const int64_t keys = is_rounded() ? size() : 0;
    require(ctx.size(1) == keys, "expected ", keys, " keys, found ", ctx.size(1));
    for (int n = 0; n < size(); n++) {
      const auto check = [&](int tensor, Type type, int64_t count) {
        const TensorView& view = ctx.view(input(n) + tensor);
        require(element_count(view.shape) == count, "expected ", what, " of parameter ", n, " with shape ", shape(n),
                " to have ", count, " values in tensor ", tensor, ", found ", view.shape);
        require(view.type == type, "expected tensor ", tensor, " of parameter ", n, " in ", name_of(type), ", found ",
                name_of(view.type));
      };
      check(0, type_, count(n));
      if (has_low_) check(1, Type::kInt16, count(n));
      for (size_t k = 0; k < state.size(); k++)
        check(1 + has_low_ + static_cast<int>(k), state[k].type, state[k].size(shape(n)));
      check(each_ - 1, Type::kFloat32, count(n));
    }
  }
  int size() const { return (ctx_.num_inputs() - kFirst) / each_; }
  const Shape& shape(int n) const { return ctx_.shape(input(n)); }
  // Of a parameter's values.
  int64_t count(int n) const { return ctx_.size(input(n)); }
  UpdatedValue value(int n) const {
    if (type_ == Type::kFloat32) return {ctx_.changed_input(input(n)), nullptr, nullptr, 0};
    return {nullptr, ctx_.changed_input<Bf16>(input(n)), has_low_ ? ctx_.changed_input<int16_t>(input(n) + 1) : nullptr,
            is_rounded() ? static_cast<uint32_t>(ctx_.input<int32_t>(1)[n]) : 0};
  }
  // Tensor k of a parameter's state.
  template <class T = float>
  T* state(int n, int k) const {
    return ctx_.changed_input<T>(input(n) + 1 + has_low_ + k);
  }
  const float* gradient(int n) const { return ctx_.input<float>(input(n) + each_ - 1); }

 private:
  static constexpr int kFirst = 2;
  int input(int n) const { return kFirst + n * each_; }
  bool is_rounded() const { return type_ == Type::kBfloat16 && !has_low_; }

  const OpContext& ctx_;
  Type type_;
  bool has_low_;
  int each_;  // tensors of a parameter
};

// Scalars, by their order in the first input.

// Of AdamW, with float32 moments.
struct AdamWParams {
  float scale, one_minus_beta1, beta2, one_minus_beta2, epsilon, step_size, bias_correction2_sqrt, decay_factor;
};
constexpr int kAdamWParams = 8;
inline AdamWParams adamw_params(const float* a) { return {a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]}; }
inline AdamWParams read_adamw(const OpContext& ctx) {
  return adamw_params(ctx.params(
      0, kAdamWParams, "scale, 1 - beta1, beta2, 1 - beta2, epsilon, step size, bias correction, decay factor"));
}
constexpr StateTensor kLikeValue = {Type::kFloat32, element_count};
inline Updates adamw_updates(const OpContext& ctx) {
  return {ctx, {kLikeValue, kLikeValue}, "value, moments and gradient"};
}

// Of AdamW with 8-bit moments: the same, then a signed and an unsigned map of codes. A moment is codes and the scales
// of blocks of 256; the second one may be float32.
constexpr int64_t kBlock = 256;
constexpr int kCodes = 256;
inline int64_t blocks_of(int64_t size) { return (size + kBlock - 1) / kBlock; }
struct AdamW8bitParams {
  AdamWParams adamw;
  const float *signed_map, *unsigned_map;
};
inline AdamW8bitParams read_adamw_8bit(const OpContext& ctx) {
  const float* a = ctx.params(0, kAdamWParams + 2 * kCodes, "those of WpoAdamW, and two maps");
  return {adamw_params(a), a + kAdamWParams, a + kAdamWParams + kCodes};
}
inline Updates adamw_8bit_updates(const OpContext& ctx, bool second_encoded) {
  const StateTensor codes = {Type::kUint8, element_count},
                    scales = {Type::kFloat32, [](const Shape& value) { return blocks_of(element_count(value)); }};
  const char* what = "value, codes, scales and gradient";
  if (second_encoded) return {ctx, {codes, scales, codes, scales}, what};
  return {ctx, {codes, scales, kLikeValue}, what};
}

struct LionParams {
  float scale, beta1, one_minus_beta1, beta2, one_minus_beta2, learning_rate, decay_factor;
};
inline LionParams read_lion(const OpContext& ctx) {
  const float* a = ctx.params(0, 7, "scale, beta1, 1 - beta1, beta2, 1 - beta2, learning rate, decay factor");
  return {a[0], a[1], a[2], a[3], a[4], a[5], a[6]};
}
inline Updates lion_updates(const OpContext& ctx) { return {ctx, {kLikeValue}, "value, momentum and gradient"}; }

struct SgdParams {
  float scale, learning_rate, weight_decay;
};
inline SgdParams read_sgd(const OpContext& ctx) {
  const float* a = ctx.params(0, 3, "scale, learning rate, weight decay");
  return {a[0], a[1], a[2]};
}
inline Updates sgd_updates(const OpContext& ctx) { return {ctx, {}, "value and gradient"}; }

// Of Adafactor. The state of a matrix are averages of its rows and of its columns; that of a vector, of its values.
struct AdafactorParams {
  float scale, beta2, one_minus_beta2, learning_rate, decay_factor;
};
inline AdafactorParams read_adafactor(const OpContext& ctx) {
  const float* a = ctx.params(0, 5, "scale, beta2, 1 - beta2, learning rate, decay factor");
  return {a[0], a[1], a[2], a[3], a[4]};
}
inline Updates adafactor_updates(const OpContext& ctx) {
  const StateTensor rows = {Type::kFloat32,
                            [](const Shape& value) {
                              require(value.size() >= 2, "expected a matrix, found a value of shape ", value);
                              return element_count({value.begin(), value.end() - 1});
                            }},
                    columns = {Type::kFloat32, [](const Shape& value) {
                                 return element_count({value.begin(), value.end() - 2}) * value.back();
                               }};
  return {ctx, {rows, columns}, "value, averages of rows and columns, and gradient"};
}
inline Updates adafactor_vector_updates(const OpContext& ctx) {
  return {ctx, {kLikeValue}, "value, averages and gradient"};
}

}  // namespace wpo
