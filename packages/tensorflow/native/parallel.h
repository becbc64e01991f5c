// Runs loops over rows on all cores: one loop at a time, the calling thread among the workers.
#pragma once
#include <cstdint>
#include <functional>

namespace wpo {

// How many threads take part: the cores that this process may use, or WPO_THREADS.
int threads();

// Calls body(begin, end, thread) over [0, n) in pieces; `cost` is about how many values one row touches. Small work stays
// on the calling thread. Pieces go to whichever thread is free, so sums over rows need an accumulator a thread.
void parallel(int64_t n, int64_t cost, const std::function<void(int64_t, int64_t, int)>& body);

}  // namespace wpo
