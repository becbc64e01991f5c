// Runs every operation again and again, and lets its first allocation fail, then its second, until it makes no more:
// each failure must be an exception that an operation reports. Linked with --wrap=aligned_alloc.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <new>

#include "calls.h"

namespace {
std::atomic<int64_t> allowed{INT64_MAX};  // allocations until the one that fails
bool fails() { return allowed.fetch_sub(1) == 0; }
}  // namespace

void* operator new(size_t size) {
  void* memory = fails() ? nullptr : std::malloc(size == 0 ? 1 : size);
  if (!memory) throw std::bad_alloc();
  return memory;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }

extern "C" {
void* __real_aligned_alloc(size_t alignment, size_t size);
void* __wrap_aligned_alloc(size_t alignment, size_t size) {
  return fails() ? nullptr : __real_aligned_alloc(alignment, size);
}
}

int main() {
  wpo::register_operations();
  std::vector<wpo::Call> calls = wpo::all_calls();
  int64_t failed = 0;
  for (wpo::Call& call : calls)
    for (int64_t n = 0;; n++) {
      allowed = n;
      bool refused = false;
      try {
        wpo::run(call);
      } catch (const wpo::OutOfMemory&) {
        refused = true;
      } catch (const std::bad_alloc&) {
        refused = true;
      }
      const bool reached = allowed.exchange(INT64_MAX) < 0;
      failed += reached;
      if (refused && !reached) {
        std::printf("%s: an error without a failed allocation\n", call.name);
        return 1;
      }
      if (!reached) break;
    }
  std::printf("%lld failed allocations in %zu calls with %d threads\n", static_cast<long long>(failed), calls.size(),
              wpo::threads());
}
