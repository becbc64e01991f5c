#pragma once
#include <cstdint>

namespace wpo {

// Whether no value is infinite or NaN. Uses all threads.
bool all_finite(const float* x, int64_t count);

}  // namespace wpo
