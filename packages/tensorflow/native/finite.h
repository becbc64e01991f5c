// A look over values for what is not finite.
#pragma once
#include <cstdint>

namespace wpo {

bool all_finite(const float* x, int64_t count);

}  // namespace wpo
