// Elementwise loops over values of either type. Their arithmetic is float32.
#pragma once
#include "runtime/operation.h"

namespace wpo {

// Compiles a loop for each pair of types: WPO_TYPED_LOOP(X, Y) defines it for values that are read as X and written as
// Y.
#define WPO_TYPED_LOOPS        \
  WPO_TYPED_LOOP(float, float) \
  WPO_TYPED_LOOP(float, Bf16)  \
  WPO_TYPED_LOOP(Bf16, float)  \
  WPO_TYPED_LOOP(Bf16, Bf16)

// Calls use(x, y) with pointers to the values of two tensors.
template <class Use>
void with_types(const TensorView& x, const TensorView& y, Use use) {
  const auto with_x = [&](const auto* from) {
    if (y.type == Type::kBfloat16)
      use(from, static_cast<Bf16*>(y.data));
    else
      use(from, static_cast<float*>(y.data));
  };
  if (x.type == Type::kBfloat16)
    with_x(static_cast<const Bf16*>(x.data));
  else
    with_x(static_cast<const float*>(x.data));
}

}  // namespace wpo
