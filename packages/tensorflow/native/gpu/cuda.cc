// NVIDIA's GPUs: the driver and cuBLAS, loaded by name, and TensorFlow's stream.
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "gemm/isa.h"
#include "gpu/dynamic-library.h"
#include "gpu/nvrtc.h"
#include "gpu/operation.h"

namespace wpo {

void* stream_of(TF_OpKernelContext* context);  // stream.cc

namespace {

// Handles of the libraries (CUstream, CUcontext, CUmodule, CUfunction, cublasHandle_t) are pointers, and addresses on
// the GPU (CUdeviceptr) are integers.
using Handle = void*;
using DevicePointer = unsigned long long;
DevicePointer device_pointer(void* address) { return reinterpret_cast<DevicePointer>(address); }

// The functions of cuda.h.
struct Driver {
  void* library = open_library({"libcuda.so.1"});
  Function<Handle, Handle*> stream_context{library, "cuStreamGetCtx"};
  Function<Handle> set_context{library, "cuCtxSetCurrent"};
  Function<int*> context_device{library, "cuCtxGetDevice"};
  Function<int*, int, int> device_attribute{library, "cuDeviceGetAttribute"};
  Function<Handle*, const void*> load_module{library, "cuModuleLoadData"};
  Function<Handle*, Handle, const char*> module_function{library, "cuModuleGetFunction"};
  Function<Handle, int, int> set_function_attribute{library, "cuFuncSetAttribute"};
  Function<Handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, Handle, void**, void**> launch{
      library, "cuLaunchKernel"};
  Function<DevicePointer, const void*, size_t, Handle> copy_in{library, "cuMemcpyHtoDAsync_v2"};
  Function<DevicePointer, unsigned, size_t, Handle> set{library, "cuMemsetD32Async"};
  // of copies beside other work
  Function<void*, DevicePointer, size_t, Handle> copy_out{library, "cuMemcpyDtoHAsync_v2"};
  Function<Handle*, unsigned> create_stream{library, "cuStreamCreate"};
  Function<Handle, Handle, unsigned> wait_for_event{library, "cuStreamWaitEvent"};
  Function<Handle*, unsigned> create_event{library, "cuEventCreate"};
  Function<Handle, Handle> record_event{library, "cuEventRecord"};
  Function<Handle> destroy_event{library, "cuEventDestroy_v2"};
  // of stored values
  Function<unsigned> init{library, "cuInit"};
  Function<int*, int> device{library, "cuDeviceGet"};
  Function<Handle*, int> retain_primary_context{library, "cuDevicePrimaryCtxRetain"};
  Function<> synchronize{library, "cuCtxSynchronize"};
  Function<DevicePointer*, size_t> allocate{library, "cuMemAlloc_v2"};
  Function<DevicePointer> free{library, "cuMemFree_v2"};
  Function<void**, size_t> allocate_pinned{library, "cuMemAllocHost_v2"};
  Function<void*> free_pinned{library, "cuMemFreeHost"};
  Function<DevicePointer, unsigned char, size_t> set_bytes{library, "cuMemsetD8_v2"};
  Function<DevicePointer, const void*, size_t> copy_in_now{library, "cuMemcpyHtoD_v2"};
  Function<void*, DevicePointer, size_t> copy_out_now{library, "cuMemcpyDtoH_v2"};
};

// The functions of cublas_v2.h.
struct Cublas {
  void* library = open_library({"libcublas.so.12", "libcublas.so.13"});
  Function<Handle*> create{library, "cublasCreate_v2"};
  Function<Handle, Handle> set_stream{library, "cublasSetStream_v2"};
  Function<Handle, int, int, int, int, int, const float*, const float*, int, const float*, int, const float*, float*,
           int>
      sgemm{library, "cublasSgemm_v2"};
  Function<Handle, int, int, int, int, int, const float*, const float*, int, long long, const float*, int, long long,
           const float*, float*, int, long long, int>
      sgemm_strided_batched{library, "cublasSgemmStridedBatched"};
  Function<Handle, int, int, int, int, int, const void*, const void*, int, int, const void*, int, int, const void*,
           void*, int, int, int, int>
      gemm_ex{library, "cublasGemmEx"};
  Function<Handle, int, int, int, int, int, const void*, const void*, int, int, long long, const void*, int, int,
           long long, const void*, void*, int, int, long long, int, int, int>
      gemm_strided_batched_ex{library, "cublasGemmStridedBatchedEx"};
};

const Driver& driver() {
  static const Driver loaded;
  return loaded;
}

// CU_DEVICE_ATTRIBUTE_…
constexpr int kComputeCapabilityMajor = 75, kComputeCapabilityMinor = 76, kMaxSharedMemoryPerBlockOptin = 97;

int as_int(int64_t n) {
  require(n <= std::numeric_limits<int>::max(), "expected matrix sizes below 2^31, found ", n);
  return static_cast<int>(n);
}

// One GPU, and TensorFlow's stream on it.
class Cuda : public Device {
 public:
  explicit Cuda(Handle stream) : stream_(stream) {
    int device = 0;
    driver().stream_context(stream_, &context_);
    set_current();
    driver().context_device(&device);
    driver().device_attribute(&major_, kComputeCapabilityMajor, device);
    driver().device_attribute(&minor_, kComputeCapabilityMinor, device);
    driver().load_module(&module_, compile_kernels(major_, minor_).data());
    has_fast_bf16_ = major_ >= 8 && major_ <= 10 && minor_ == 0;
    cublas_.create(&cublas_handle_);
    cublas_.set_stream(cublas_handle_, stream_);
  }

  // Makes this GPU's context the calling thread's.
  void set_current() { driver().set_context(context_); }

  void launch(const char* kernel, int64_t blocks, int threads, void** arguments) override {
    launch_function(function(module_, kernel, 0), blocks, threads, 0, arguments);
  }
  void launch(const AttentionTiles& tiles, const char* kernel, int64_t blocks, int threads, int64_t bytes,
              void** arguments) override {
    Handle& module = attention_modules_[tiles.head_size];
    if (!module) driver().load_module(&module, compile_fused_attention(major_, minor_, tiles).data());
    launch_function(function(module, kernel, bytes), blocks, threads, bytes, arguments);
  }

  // cuBLAS is column-major: it computes cᵀ = op(b)ᵀ · op(a)ᵀ.
  void multiply(const GemmArgs<float>& p) override {
    const float alpha = 1;
    const int m = as_int(p.m), n = as_int(p.n), k = as_int(p.k), lda = as_int(p.lda), ldb = as_int(p.ldb),
              ldc = as_int(p.ldc);
    if (p.batch == 1)
      cublas_.sgemm(cublas_handle_, p.transpose_b, p.transpose_a, n, m, k, &alpha, p.b, ldb, p.a, lda, &p.beta, p.c,
                    ldc);
    else
      cublas_.sgemm_strided_batched(cublas_handle_, p.transpose_b, p.transpose_a, n, m, k, &alpha, p.b, ldb, p.stride_b,
                                    p.a, lda, p.stride_a, &p.beta, p.c, ldc, p.stride_c, as_int(p.batch));
  }

  void multiply(const GemmArgs<Bf16>& p) override {
    constexpr int kFloat = 0, kBfloat16 = 14, kComputeFloat = 68, kDefaultAlgorithm = -1;
    const float alpha = 1;
    if (p.batch > 1) {
      cublas_.gemm_strided_batched_ex(cublas_handle_, p.transpose_b, p.transpose_a, as_int(p.n), as_int(p.m),
                                      as_int(p.k), &alpha, p.b, kBfloat16, as_int(p.ldb), p.stride_b, p.a, kBfloat16,
                                      as_int(p.lda), p.stride_a, &p.beta, p.c, kFloat, as_int(p.ldc), p.stride_c,
                                      as_int(p.batch), kComputeFloat, kDefaultAlgorithm);
      return;
    }
    cublas_.gemm_ex(cublas_handle_, p.transpose_b, p.transpose_a, as_int(p.n), as_int(p.m), as_int(p.k), &alpha, p.b,
                    kBfloat16, as_int(p.ldb), p.a, kBfloat16, as_int(p.lda), &p.beta, p.c, kFloat, as_int(p.ldc),
                    kComputeFloat, kDefaultAlgorithm);
  }

  // WPO_ISA below amx turns split-bfloat16 products off here too.
  Bf16x3Limits bf16x3_limits() const override {
    const bool used = has_fast_bf16_ && isa_limit() == Isa::kAmx;
    return {used, used ? 256 : std::numeric_limits<int64_t>::max(), int64_t{1} << 31, 512, int64_t{1} << 24};
  }

  // CUDA has read data in pageable memory when this returns.
  void copy_in(void* to, const void* from, size_t bytes) override {
    driver().copy_in(device_pointer(to), from, bytes, stream_);
  }
  void copy_in(float** to, const std::vector<float*>& addresses) override {
    copy_in(to, addresses.data(), addresses.size() * sizeof(float*));
  }
  void zero(float* to, int64_t count) override {
    if (count > 0) driver().set(device_pointer(to), 0, static_cast<size_t>(count), stream_);
  }

  void copy_to_pinned(void* pinned, const void* from, size_t bytes) override {
    copy_beside(to_pinned_, pinned, from, [&](Handle stream) {
      driver().copy_out(pinned, reinterpret_cast<DevicePointer>(from), bytes, stream);
    });
  }
  void copy_from_pinned(void* to, const void* pinned, size_t bytes) override {
    copy_beside(from_pinned_, to, pinned,
                [&](Handle stream) { driver().copy_in(device_pointer(to), pinned, bytes, stream); });
  }
  void wait_for_copies(const void* address) override {
    const auto found = copies_.find(address);
    if (found == copies_.end()) return;
    driver().wait_for_event(stream_, found->second.get(), 0);
    copies_.erase(found);
  }

 private:
  // A kernel, which may have `bytes` of dynamic shared memory.
  Handle function(Handle module, const char* kernel, int64_t bytes) {
    constexpr int kMaxDynamicSharedBytes = 8;  // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    Handle& known = functions_[{module, kernel}];
    if (known) return known;
    Handle found = nullptr;
    driver().module_function(&found, module, kernel);
    if (bytes > 0) driver().set_function_attribute(found, kMaxDynamicSharedBytes, static_cast<int>(bytes));
    return known = found;
  }
  void launch_function(Handle function, int64_t blocks, int threads, int64_t bytes, void** arguments) {
    driver().launch(function, static_cast<unsigned>(blocks), 1, 1, static_cast<unsigned>(threads), 1, 1,
                    static_cast<unsigned>(bytes), stream_, arguments, nullptr);
  }
  using Event = std::shared_ptr<void>;
  // What was queued on a stream until now.
  static Event record(Handle stream) {
    constexpr unsigned kDisableTiming = 2;
    Handle event = nullptr;
    driver().create_event(&event, kDisableTiming);
    const Event owned(event, [](Handle e) {
      try {
        driver().destroy_event(e);
      } catch (const std::exception&) {
        // the driver is shut down
      }
    });
    driver().record_event(event, stream);
    return owned;
  }
  // Queues a copy on another stream, which is created at its first use.
  template <class Copy>
  void copy_beside(Handle& stream, const void* to, const void* from, Copy copy) {
    constexpr unsigned kNonBlocking = 1;
    if (!stream) driver().create_stream(&stream, kNonBlocking);
    driver().wait_for_event(stream, record(stream_).get(), 0);
    for (const void* address : {to, from})
      if (const auto found = copies_.find(address); found != copies_.end())
        driver().wait_for_event(stream, found->second.get(), 0);
    copy(stream);
    copies_[to] = copies_[from] = record(stream);
  }

  Handle stream_, context_ = nullptr, module_ = nullptr, cublas_handle_ = nullptr;
  int major_ = 0, minor_ = 0;  // compute capability
  // compute capability 8.0, 9.0 or 10.0: six bfloat16 products take less time than one float32 product
  bool has_fast_bf16_ = false;
  const Cublas cublas_;
  std::map<int64_t, Handle> attention_modules_;  // by head size
  std::map<std::pair<Handle, const char*>, Handle> functions_;
  Handle to_pinned_ = nullptr, from_pinned_ = nullptr;  // streams
  std::map<const void*, Event> copies_;                 // the last copy of an address, which ends after those before
};

// Memory of the first GPU, which is TensorFlow's, for stored values.
class CudaMemory : public StoreMemory {
 public:
  CudaMemory() {
    int device = 0;
    driver().init(0);
    driver().device(&device, 0);
    driver().retain_primary_context(&context_, device);
  }
  std::shared_ptr<void> allocate(int64_t bytes) override {
    const std::shared_ptr<void> memory = allocate_for_step(bytes);
    if (!memory) return nullptr;
    driver().set_bytes(device_pointer(memory.get()), 0, static_cast<size_t>(bytes));
    driver().synchronize();  // TensorFlow's stream does not wait for work outside of it
    return memory;
  }
  std::shared_ptr<void> allocate_for_step(int64_t bytes) override {
    if (bytes == 0) return nullptr;
    set_current();
    DevicePointer memory = 0;
    driver().allocate(&memory, static_cast<size_t>(bytes));
    const Handle context = context_;
    return {reinterpret_cast<void*>(memory), [context](void* m) {
              try {  // it waits until queued work that reads the memory has run
                driver().set_context(context);
                driver().free(device_pointer(m));
              } catch (const std::exception&) {
                // the driver is shut down
              }
            }};
  }
  std::shared_ptr<void> allocate_pinned(int64_t bytes) override {
    if (bytes == 0) return nullptr;
    set_current();
    void* memory = nullptr;
    driver().allocate_pinned(&memory, static_cast<size_t>(bytes));
    const Handle context = context_;
    const std::shared_ptr<void> owned(memory, [context](void* m) {
      try {  // copies may still use it
        driver().set_context(context);
        driver().synchronize();
        driver().free_pinned(m);
      } catch (const std::exception&) {
        // the driver is shut down
      }
    });
    std::memset(memory, 0, static_cast<size_t>(bytes));
    return owned;
  }
  void synchronize() override {
    set_current();
    driver().synchronize();
  }
  // Pinned, so that copies are fast.
  char* staging() override {
    set_current();
    if (!staging_) driver().allocate_pinned(&staging_, kStagingBytes);
    return static_cast<char*>(staging_);
  }
  // Queued work may read what is overwritten, or write what is read.
  void copy_in(void* to, const void* from, int64_t bytes) override {
    set_current();
    driver().synchronize();
    driver().copy_in_now(device_pointer(to), from, static_cast<size_t>(bytes));
  }
  void copy_out(void* to, const void* from, int64_t bytes) override {
    set_current();
    driver().synchronize();
    driver().copy_out_now(to, reinterpret_cast<DevicePointer>(from), static_cast<size_t>(bytes));
  }

 private:
  void set_current() { driver().set_context(context_); }
  Handle context_ = nullptr;
  void* staging_ = nullptr;
};

// The driver is loaded at the first call of a function of the store, because there may be none.
class LazyCudaMemory : public StoreMemory {
 public:
  std::shared_ptr<void> allocate(int64_t bytes) override { return memory().allocate(bytes); }
  std::shared_ptr<void> allocate_for_step(int64_t bytes) override { return memory().allocate_for_step(bytes); }
  char* staging() override { return memory().staging(); }
  void copy_in(void* to, const void* from, int64_t bytes) override { memory().copy_in(to, from, bytes); }
  void copy_out(void* to, const void* from, int64_t bytes) override { memory().copy_out(to, from, bytes); }
  std::shared_ptr<void> allocate_pinned(int64_t bytes) override { return memory().allocate_pinned(bytes); }
  void synchronize() override { memory().synchronize(); }

 private:
  static CudaMemory& memory() {
    static CudaMemory loaded;
    return loaded;
  }
};

StoreMemory& cuda_memory() {
  static LazyCudaMemory memory;
  return memory;
}

Device& cuda_device(TF_OpKernelContext* context) {
  static std::mutex mutex;
  static std::map<Handle, Cuda> devices;
  Handle stream = stream_of(context);
  if (!stream) throw std::runtime_error("TensorFlow gives no CUDA stream for its GPU");
  const std::lock_guard<std::mutex> lock(mutex);
  Cuda& device = devices.try_emplace(stream, stream).first->second;
  device.set_current();
  return device;
}

// bfloat16 products need compute capability 8.0. TensorFlow's GPU is the first one.
int64_t fused_shared_memory() {
  int device = 0, major = 0, bytes = 0;
  try {
    driver().init(0);
    driver().device(&device, 0);
    driver().device_attribute(&major, kComputeCapabilityMajor, device);
    driver().device_attribute(&bytes, kMaxSharedMemoryPerBlockOptin, device);
  } catch (const std::exception&) {
    return 0;  // there is no GPU
  }
  return major >= 8 ? bytes : 0;
}

std::string missing_library() {
  try {
    driver();
    require_nvrtc();
    Cublas();
    return "";
  } catch (const std::exception& error) {
    return error.what();
  }
}

}  // namespace

const Platform platform = {"GPU",           256,        100'000'000,        1 << 24, cuda_device, cuda_memory,
                           missing_library, {128, 256}, fused_shared_memory};

}  // namespace wpo
