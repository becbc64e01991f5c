// The CUDA stream that TensorFlow does an operation's work on, which its C interface does not give.
#include "tensorflow/core/framework/op_kernel.h"
#include "xla/stream_executor/stream.h"

struct TF_OpKernelContext;

namespace wpo {

void* stream_of(TF_OpKernelContext* context) {
  auto* device = reinterpret_cast<tensorflow::OpKernelContext*>(context)->op_device_context();
  return device && device->stream() ? device->stream()->platform_specific_handle().stream : nullptr;
}

}  // namespace wpo
