// The CUDA stream on which TensorFlow runs an operation, from TensorFlow's C++ headers: its C interface does not give
// it.
#include "xla/stream_executor/stream.h"
#include "tensorflow/core/framework/op_kernel.h"

struct TF_OpKernelContext;

namespace wpo {

void* stream_of(TF_OpKernelContext* context) {
  auto* device = reinterpret_cast<tensorflow::OpKernelContext*>(context)->op_device_context();
  return device && device->stream() ? device->stream()->platform_specific_handle().stream : nullptr;
}

}  // namespace wpo
