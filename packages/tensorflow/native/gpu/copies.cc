// Copies between the GPU and pinned memory of the CPU, which run beside its other work (device.h).
#include "gpu/operation.h"

namespace wpo {
namespace {

// Of two inputs, of which one is pinned: TensorFlow could pass others.
size_t bytes_to_copy(const GpuContext& ctx, int pinned) {
  require(ctx.view(pinned).pinned, "expected pinned values as input ", pinned);
  require(ctx.view(0).type == ctx.view(1).type && ctx.size(0) == ctx.size(1),
          "expected values of one type and number, found ", ctx.size(0), " of type ", name_of(ctx.view(0).type),
          " and ", ctx.size(1), " of type ", name_of(ctx.view(1).type));
  return static_cast<size_t>(ctx.size(0) * size_of(ctx.view(0).type));
}

// pinned, x: begins to copy x
void copy_to_pinned(GpuContext& ctx) {
  if (const size_t bytes = bytes_to_copy(ctx, 0))
    ctx.device().copy_to_pinned(ctx.changed_input(0), ctx.input(1), bytes);
  ctx.output_done();
}

// into, pinned: begins to copy the pinned values
void copy_from_pinned(GpuContext& ctx) {
  if (const size_t bytes = bytes_to_copy(ctx, 1))
    ctx.device().copy_from_pinned(ctx.changed_input(0), ctx.input(1), bytes);
  ctx.output_done();
}

// x: what follows may use it
void wait_for_copies(GpuContext& ctx) {
  ctx.device().wait_for_copies(ctx.input(0));
  ctx.output_done();
}

}  // namespace

void register_gpu_copies() {
  register_gpu_kernel<copy_to_pinned>("WpoCopyToPinned");
  register_gpu_kernel<copy_from_pinned>("WpoCopyFromPinned");
  register_gpu_kernel<wait_for_copies>("WpoWaitForCopies");
}

}  // namespace wpo
