// One run of an operation on a GPU: float tensors lie there, int32 ones with the processor.
#pragma once
#include <stdexcept>
#include "../op.h"
#include "device.h"

namespace wpo {

// Who makes the device that an operation runs on.
struct Platform {
  const char* name;  // TensorFlow's, of the device
  int threads;       // of a block, a power of two
  int64_t start;     // multiplications that take as long as to start a product
  int64_t joined;    // scores of all heads, at most, that spans of attention are joined for
  Device& (*device)(TF_OpKernelContext*);
  std::string (*lack)();  // what it wants and does not find; empty where it finds all
};
extern const Platform platform;

class GpuRun : public Run {
 public:
  GpuRun(Host& host, std::vector<View> inputs, Kernel& kernel, Device& device)
      : Run(host, std::move(inputs)), kernel_(kernel), device_(device) {}

  Kernel& kernel() { return kernel_; }
  Device& device() { return device_; }

  // A block for each row.
  template <class... Arguments>
  void by_row(const char* kernel, int64_t rows, Arguments... arguments) {
    void* addresses[] = {&arguments...};
    if (rows > 0) device_.launch(kernel, rows, platform.threads, addresses);
  }
  // A thread for each of `count` values, which is the kernel's last argument.
  template <class... Arguments>
  void by_value(const char* kernel, int64_t count, Arguments... arguments) {
    by_row(kernel, blocks_of(count), arguments..., count);
  }

  // Memory for what is asked of the device before it is let go.
  std::shared_ptr<void> memory(int64_t bytes) {
    std::shared_ptr<void> found = kernel_.scratch(bytes);
    if (!found && bytes > 0) throw std::runtime_error("no memory to work in");
    return found;
  }
  // The same until the operation ends.
  template <class T = float>
  T* scratch(int64_t count) {
    held_.push_back(memory(count * sizeof(T)));
    return static_cast<T*>(held_.back().get());
  }
  template <class T>
  const T* upload(const T* values, int64_t count) {
    T* there = scratch<T>(count);
    if (count > 0) device_.copy_in(there, values, count * sizeof(T));
    return there;
  }
  template <class T>
  const T* upload(const std::vector<T>& values) {
    return upload(values.data(), values.size());
  }
  float* const* upload(const std::vector<float*>& addresses) {
    float** there = scratch<float*>(addresses.size());
    if (!addresses.empty()) device_.copy_in(there, addresses);
    return there;
  }

  static int64_t blocks_of(int64_t count) { return (count + platform.threads - 1) / platform.threads; }

 private:
  Kernel& kernel_;
  Device& device_;
  std::vector<std::shared_ptr<void>> held_;
};

struct GpuOperation : Signature {
  void (*compute)(GpuRun&);
};

inline std::vector<GpuOperation>& gpu_operations() {
  static std::vector<GpuOperation> defined;
  return defined;
}

// Registers `Compute` as what operation `name` does on a GPU; inputs and outputs as the processor's addon defines them.
template <void (*Compute)(GpuRun&)>
void define_on_gpu(const char* name, std::vector<std::string> inputs, std::vector<std::string> outputs) {
  gpu_operations().push_back({{name, std::move(inputs), std::move(outputs)}, Compute});
  auto compute = [](void*, TF_OpKernelContext* context) {
    Kernel kernel(context);
    try {
      GpuRun run(kernel, kernel.inputs(), kernel, platform.device(context));
      Compute(run);
    } catch (const std::exception& error) {
      kernel.fail(error.what());
    }
  };
  TF_Status* status = TF_NewStatus();
  TF_KernelBuilder* builder = TF_NewKernelBuilder(name, platform.name, nullptr, compute, nullptr);
  const Signature& operation = gpu_operations().back();
  for (size_t i = 0; i < operation.inputs.size(); i++) {
    const std::string& input = operation.inputs[i];
    if (operation.is_int(i)) TF_KernelBuilder_HostMemory(builder, input.substr(0, input.find(':')).c_str());
  }
  TF_KernelBuilder_Priority(builder, 1);  // where there are others for this device
  TF_RegisterKernelBuilder(name, builder, status);
  if (TF_GetCode(status) != TF_OK) fprintf(stderr, "wpo: %s was not registered: %s\n", name, TF_Message(status));
  TF_DeleteStatus(status);
}

}  // namespace wpo
