// Products of floats by a GPU's matrix units, which multiply bfloat16 many times as fast as its other units multiply floats. A
// float is its thirds, as on a processor with AMX (../thirds.h); the six products of thirds that count are one product of six
// times the depth.
#pragma once
#include "run.h"

namespace wpo {

// As `Device::multiply`, by thirds where that is ahead.
void multiply(GpuRun& run, const Products<float>& products);

}  // namespace wpo
