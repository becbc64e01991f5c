// One call of an operation on a GPU: float tensors are in its memory, int32 tensors in the CPU's.
#pragma once
#include <limits>

#include "gpu/device.h"
#include "gpu/fused-attention.h"
#include "runtime/operation.h"
#include "runtime/store-functions.h"

namespace wpo {

// The platform that the operations run on. cuda.cc defines it for NVIDIA GPUs; test/gpu/emulated.cc, for the CPU.
struct Platform {
  const char* name;           // TensorFlow's name of the device
  int threads;                // of a block, a power of two
  int64_t launch_cost;        // multiplications that take as long as launching a product
  int64_t max_joined_scores;  // of all heads, up to which query blocks are joined (attention.cc)
  Device& (*device)(TF_OpKernelContext*);
  StoreMemory& (*memory)();
  std::string (*missing)();  // the library that cannot be loaded and why, or an empty string
  // Head sizes of which there are fused attention kernels, and the bytes of shared memory that a block of theirs may
  // have: 0 on a GPU without products of bfloat16.
  std::vector<int64_t> fused_head_sizes;
  int64_t (*fused_shared_memory)();
};
extern const Platform platform;

// The tiles of fused attention for a head size; none if this GPU cannot run it.
inline std::optional<AttentionTiles> fused_tiles(int64_t head_size) {
  const std::vector<int64_t>& sizes = platform.fused_head_sizes;
  if (std::find(sizes.begin(), sizes.end(), head_size) == sizes.end()) return std::nullopt;
  return attention_tiles(head_size, platform.fused_shared_memory());
}

class GpuContext : public OpContext {
 public:
  GpuContext(OutputAllocator& allocator, std::vector<TensorView> inputs, TensorFlowContext& tensorflow, Device& device,
             Precision precision = Precision::kFloat32)
      : OpContext(allocator, std::move(inputs), precision), tensorflow_(tensorflow), device_(device) {}

  TensorFlowContext& tensorflow() { return tensorflow_; }
  Device& device() { return device_; }

  // Launches a kernel with one block for each row.
  template <class... Arguments>
  void launch_rows(const char* kernel, int64_t rows, Arguments... arguments) {
    require_blocks(kernel, rows);
    void* addresses[] = {&arguments...};
    if (rows > 0) device_.launch(kernel, rows, platform.threads, addresses);
  }
  // Launches a kernel of fused-attention.cu; `bytes`: of shared memory.
  template <class... Arguments>
  void launch_fused(const AttentionTiles& tiles, const char* kernel, int64_t blocks, int64_t threads, int64_t bytes,
                    Arguments... arguments) {
    require_blocks(kernel, blocks);
    void* addresses[] = {&arguments...};
    if (blocks > 0) device_.launch(tiles, kernel, blocks, static_cast<int>(threads), bytes, addresses);
  }
  // Launches a kernel with one thread for each of `count` values, which is the kernel's last argument.
  template <class... Arguments>
  void launch_values(const char* kernel, int64_t count, Arguments... arguments) {
    launch_rows(kernel, (count + platform.threads - 1) / platform.threads, arguments..., count);
  }

  // Widens `lines` of `values` bfloat16 values, with leading dimension `ld`. y has no gaps.
  void widen(const Bf16* x, int64_t lines, int64_t values, int64_t ld, float* y) {
    launch_values("widen_bf16", lines * values, x, y, values, ld);
  }

  // Rounds `lines` of `values`, with leading dimension `ld`, to bfloat16. y has leading dimension `to_ld`.
  void round(const float* x, int64_t lines, int64_t values, int64_t ld, Bf16* y, int64_t to_ld) {
    launch_values("round_bf16", lines * values, x, y, values, ld, to_ld);
  }

  // Device memory. It may be freed before launched work has run, because later uses of the memory are queued behind it.
  std::shared_ptr<void> memory(int64_t bytes) { return tensorflow_.device_memory(bytes); }
  // Device memory that is held until the operation ends.
  template <class T = float>
  T* scratch(int64_t count) {
    if (count < 0 || count > kMaxElements) throw OutOfMemory(count, sizeof(T));
    held_.push_back(memory(count * static_cast<int64_t>(sizeof(T))));
    return static_cast<T*>(held_.back().get());
  }
  template <class T>
  const T* upload(const T* values, int64_t count) {
    T* there = scratch<T>(count);
    if (count > 0) device_.copy_in(there, values, static_cast<size_t>(count) * sizeof(T));
    return there;
  }
  template <class T>
  const T* upload(const std::vector<T>& values) {
    return upload(values.data(), static_cast<int64_t>(values.size()));
  }
  float* const* upload(const std::vector<float*>& addresses) {
    float** there = scratch<float*>(static_cast<int64_t>(addresses.size()));
    if (!addresses.empty()) device_.copy_in(there, addresses);
    return there;
  }

 protected:
  float* hold_floats(int64_t count) override { return scratch(count); }
  void widen_values(const TensorView& x, float* y) override {
    const int64_t count = element_count(x.shape);
    widen(static_cast<const Bf16*>(x.data), 1, count, count, y);
  }
  void round_values(const float* x, const TensorView& y) override {
    const int64_t count = element_count(y.shape);
    round(x, 1, count, count, static_cast<Bf16*>(y.data), count);
  }

 private:
  static void require_blocks(const char* kernel, int64_t blocks) {
    constexpr int64_t kMaxBlocks = std::numeric_limits<int32_t>::max();
    require(blocks <= kMaxBlocks, "expected at most ", kMaxBlocks, " blocks for kernel ", kernel, ", found ", blocks);
  }

  TensorFlowContext& tensorflow_;
  Device& device_;
  std::vector<std::shared_ptr<void>> held_;
};

template <void (*Compute)(GpuContext&)>
inline const char* gpu_kernel_name = nullptr;

// Registers the GPU kernel of an operation that the CPU addon has defined.
template <void (*Compute)(GpuContext&)>
void register_gpu_kernel(const char* name) {
  const Signature& signature = signature_of(name);
  kernels<GpuContext>().push_back({&signature, Compute});
  gpu_kernel_name<Compute> = name;
  const auto compute = [](void*, TF_OpKernelContext* context) {
    run_kernel(gpu_kernel_name<Compute>, context, [&](TensorFlowContext& tensorflow) {
      GpuContext ctx(tensorflow, tensorflow.inputs(), tensorflow, platform.device(context));
      Compute(ctx);
    });
  };
  TF_KernelBuilder* builder = TF_NewKernelBuilder(name, platform.name, nullptr, compute, nullptr);
  for (size_t i = 0; i < signature.inputs.size(); i++)
    if (signature.is_int32(i)) TF_KernelBuilder_HostMemory(builder, signature.input_name(i).c_str());
  TF_KernelBuilder_Priority(builder, 1);  // preferred to another kernel for this device
  TF_Status* status = TF_NewStatus();
  TF_RegisterKernelBuilder(name, builder, status);
  require_registered(status, name);
}

}  // namespace wpo
