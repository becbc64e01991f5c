// Float32 products with a GPU's matrix units (tensor cores), which multiply bfloat16 many times as fast as its other
// units multiply float32. A float is split into high, mid and low bfloat16 parts, as with AMX (gemm/bf16x3.h). The six
// products of parts that are not negligible are computed as one product of six times the depth.
#pragma once
#include "gpu/operation.h"

namespace wpo {

// Like `Device::multiply`, but as a split-bfloat16 product where that is faster (Device::bf16x3_limits).
void multiply(GpuContext& ctx, const GemmArgs<float>& args);

// An operand on the device, float32 or bfloat16.
struct TypedMatrix {
  const void* data;
  Type type;
  TypedMatrix from(int64_t values) const { return {static_cast<const char*>(data) + values * size_of(type), type}; }
};

// As GemmArgs, for one matrix.
struct TypedGemmArgs {
  bool transpose_a, transpose_b;
  int64_t m, n, k;
  TypedMatrix a;
  int64_t lda;
  TypedMatrix b;
  int64_t ldb;
  float beta;
  float* c;
  int64_t ldc;
};

// A bfloat16 operand has only the high part, so three products are enough, or one if both are bfloat16. With a few
// rows of float32 the three are one product of three times the rows. Where split-bfloat16 products are not faster, a
// bfloat16 operand is widened, a part of it at a time. With the precision bfloat16, float32
// operands are rounded, and one product is enough.
void multiply(GpuContext& ctx, const TypedGemmArgs& args);

}  // namespace wpo
