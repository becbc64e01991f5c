// Runs the operations that use threads, for ThreadSanitizer, which cannot run inside Node.
#include <cstdio>

#include "calls.h"

namespace wpo {
namespace {

// A loop with a body that throws on several threads rethrows one of the exceptions, and the next loop runs normally.
void run_failing_loop() {
  bool caught = false;
  try {
    parallel(1000, 1 << 20, [](int64_t begin, int64_t, int) { require(begin % 3 != 0, "index ", begin); });
  } catch (const std::invalid_argument&) {
    caught = true;
  }
  require(caught, "expected the exception of a worker thread");
}

}  // namespace
}  // namespace wpo

int main() {
  wpo::register_operations();
  for (int round = 0; round < 3; round++) {
    for (wpo::Call& call : wpo::all_calls()) wpo::run(call);
    wpo::run_failing_loop();
  }
  std::printf("%d threads\n", wpo::threads());
}
