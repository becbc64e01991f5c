// Float32 products with a GPU's matrix units (tensor cores), which multiply bfloat16 many times as fast as its other
// units multiply float32. A float is split into high, mid and low bfloat16 parts, as with AMX (gemm/bf16x3.h). The six
// products of parts that are not negligible are computed as one product of six times the depth.
#pragma once
#include "gpu/operation.h"

namespace wpo {

// Like `Device::multiply`, but as a split-bfloat16 product where that is faster (Device::bf16x3_limits).
void multiply(GpuContext& ctx, const GemmArgs<float>& args);

}  // namespace wpo
