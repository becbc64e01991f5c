// Runs loops on all cores: one loop at a time, the calling thread among the workers.
#pragma once
#include <cstdint>
#include <functional>

namespace wpo {

// How many threads take part: WPO_THREADS, or the cores that this process may use.
int threads();

// Calls body(begin, end, thread) over pieces of [0, n). `cost` is about the number of values touched per index; small
// loops run on the calling thread alone. Pieces go to whichever thread is free, so a sum over all indices needs one
// accumulator per thread. If the body throws, the loop stops early and the first exception is rethrown on the calling
// thread.
void parallel(int64_t n, int64_t cost, const std::function<void(int64_t, int64_t, int)>& body);

}  // namespace wpo
