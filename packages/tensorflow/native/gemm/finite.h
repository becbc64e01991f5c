#pragma once
#include "runtime/operation.h"

namespace wpo {

// Whether no value is infinite or NaN. Uses all threads.
bool all_finite(const TensorView& x);

}  // namespace wpo
