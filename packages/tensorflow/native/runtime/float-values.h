#pragma once
#include "runtime/operation.h"
#include "runtime/parallel.h"
#include "runtime/scratch.h"

namespace wpo {

// Values as float32. bfloat16 values are widened into memory of its own.
class FloatValues {
 public:
  explicit FloatValues(const TensorView& x) : values_(static_cast<const float*>(x.data)) {
    if (x.type == Type::kFloat32) return;
    const int64_t count = element_count(x.shape);
    const Bf16* from = static_cast<const Bf16*>(x.data);
    wide_ = allocate_scratch(count);
    parallel(count, 1, [=, to = wide_.get()](int64_t begin, int64_t end, int) {
      for (int64_t j = begin; j < end; j++) to[j] = load_float(from + j);
    });
    values_ = wide_.get();
  }
  const float* get() const { return values_; }

 private:
  const float* values_;
  Scratch wide_;
};

}  // namespace wpo
