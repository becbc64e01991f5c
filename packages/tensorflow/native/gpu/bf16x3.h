// Float products by a GPU's matrix units, which multiply bfloat16 many times as fast as its other units multiply
// floats. A float is split into high, mid and low bfloat16 parts, as with AMX (gemm/bf16x3.h). The six products of
// parts that count are one product of six times the depth.
#pragma once
#include "gpu/operation.h"

namespace wpo {

// As `Device::multiply`, by the bf16x3 split where that is faster (Device::bf16x3_limits).
void multiply(GpuContext& ctx, const GemmArgs<float>& args);

}  // namespace wpo
