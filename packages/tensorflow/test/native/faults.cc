// Operations for tests that fail in every possible way: in the call itself and in a worker thread. They are built with
// native/runtime/parallel.cc.
#include <atomic>
#include <cstdlib>
#include <new>
#include <stdexcept>

#include "runtime/module.h"
#include "runtime/parallel.h"
#include "runtime/scratch.h"

namespace wpo {
namespace {

enum Fault { kNone, kInvalidArgument, kBadAlloc, kRuntimeError, kUnknown, kScratch, kHugeScratch };

void raise(int32_t fault) {
  switch (fault) {
    case kNone:
      return;
    case kInvalidArgument:
      fail("expected a number above ", 0, ", found ", Shape{2, 3});
    case kBadAlloc:
      throw std::bad_alloc();
    case kRuntimeError:
      throw std::runtime_error("a run-time error");
    case kScratch:
      allocate_scratch(kMaxElements);
      return;
    case kHugeScratch:
      allocate_scratch(int64_t{1} << 62);
      return;
    default:
      throw 42;
  }
}

// [fault] -> the fault
void fault(OpContext& ctx) {
  raise(*ctx.input<int32_t>(0));
  *ctx.output_done() = static_cast<float>(*ctx.input<int32_t>(0));
}

// [fault, index at which it is raised, indices] -> the number of indices
// visited
void fault_in_thread(OpContext& ctx) {
  const int32_t* params = ctx.input<int32_t>(0);
  std::atomic<int64_t> visited{0};
  parallel(params[2], 1 << 20, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; i++, visited++)
      if (i == params[1]) raise(params[0]);
  });
  *ctx.output_done() = static_cast<float>(visited);
}

void register_all() {
  static const Signature in_call = {"WpoTestFault", {"fault: int32"}, {"done: float"}};
  static const Signature in_thread = {"WpoTestFaultInThread", {"params: int32"}, {"done: float"}};
  define_operation(in_call);
  define_operation(in_thread);
  register_kernel<fault>(in_call);
  register_kernel<fault_in_thread>(in_thread);
}

}  // namespace
}  // namespace wpo

// An entry point that throws, where WPO_TEST_ENTRY_FAULT is set.
extern "C" __attribute__((visibility("default"))) napi_value napi_register_module_v1(napi_env env, napi_value exports) {
  return wpo::run_entry_point(env, [=] {
    if (std::getenv("WPO_TEST_ENTRY_FAULT")) throw std::runtime_error("the entry point failed");
    static const bool registered = (wpo::register_all(), true);
    (void)registered;
    wpo::export_operations<wpo::OpContext>(env, exports);
    return exports;
  });
}
