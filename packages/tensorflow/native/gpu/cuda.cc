// NVIDIA's GPUs: the driver, the compiler and cuBLAS, all loaded by name, so that this is built, and loads, where none is.
#include <dlfcn.h>
#include <cstdlib>
#include <limits>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>
#include "run.h"

// kernels.cu as text
asm(R"(
  .section .rodata
  .global wpo_kernels
  .hidden wpo_kernels
wpo_kernels:
  .incbin "kernels.cu"
  .byte 0
  .previous
)");
extern "C" __attribute__((visibility("hidden"))) const char wpo_kernels[];

namespace wpo {

void* stream_of(TF_OpKernelContext* context);

namespace {

void* open(std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (void* library = dlopen(name, RTLD_NOW)) return library;
  throw std::runtime_error(std::string(*names.begin()) + " cannot be loaded: " + dlerror());
}

// A function of a library, found by its name, which fails where it returns anything but 0.
class Function {
 public:
  Function(void* library, const char* name) : name_(name), at_(dlsym(library, name)) {
    if (!at_) throw std::runtime_error(std::string(name) + " is not to be found");
  }
  template <class... Arguments>
  void operator()(Arguments... arguments) const {
    if (const int code = reinterpret_cast<int (*)(Arguments...)>(at_)(arguments...))
      throw std::runtime_error(std::string(name_) + " failed with " + std::to_string(code));
  }

 private:
  const char* name_;
  void* at_;
};

// The driver's functions (cuda.h), with handles as plain pointers.
struct Driver {
  void* library = open({"libcuda.so.1"});
  Function stream_context{library, "cuStreamGetCtx"};
  Function use_context{library, "cuCtxSetCurrent"};
  Function context_device{library, "cuCtxGetDevice"};
  Function attribute{library, "cuDeviceGetAttribute"};
  Function load_module{library, "cuModuleLoadData"};
  Function find_function{library, "cuModuleGetFunction"};
  Function launch{library, "cuLaunchKernel"};
  Function copy_in{library, "cuMemcpyHtoDAsync_v2"};
  Function set{library, "cuMemsetD32Async"};
};

// The compiler's (nvrtc.h).
struct Compiler {
  void* library = open({"libnvrtc.so.12", "libnvrtc.so.13"});
  Function create{library, "nvrtcCreateProgram"};
  Function compile{library, "nvrtcCompileProgram"};
  Function size{library, "nvrtcGetCUBINSize"};
  Function get{library, "nvrtcGetCUBIN"};
  Function log_size{library, "nvrtcGetProgramLogSize"};
  Function log{library, "nvrtcGetProgramLog"};
  Function destroy{library, "nvrtcDestroyProgram"};
};

// cuBLAS's (cublas_v2.h).
struct Blas {
  void* library = open({"libcublas.so.12", "libcublas.so.13"});
  Function create{library, "cublasCreate_v2"};
  Function set_stream{library, "cublasSetStream_v2"};
  Function multiply{library, "cublasSgemm_v2"};
  Function multiply_all{library, "cublasSgemmStridedBatched"};
  Function multiply_as{library, "cublasGemmEx"};
};

const Driver& driver() {
  static const Driver found;
  return found;
}

std::string compiled(int major, int minor) {
  const Compiler nvrtc;
  const std::string target = "--gpu-architecture=sm_" + std::to_string(major) + std::to_string(minor);
  const char* options[] = {target.c_str()};
  void* program = nullptr;
  size_t size = 0;
  nvrtc.create(&program, wpo_kernels, "kernels.cu", 0, nullptr, nullptr);
  try {
    nvrtc.compile(program, 1, options);
  } catch (const std::exception& error) {
    nvrtc.log_size(program, &size);
    std::string log(size, '\0');
    nvrtc.log(program, log.data());
    throw std::runtime_error(std::string(error.what()) + ":\n" + log);
  }
  nvrtc.size(program, &size);
  std::string code(size, '\0');
  nvrtc.get(program, code.data());
  nvrtc.destroy(&program);
  return code;
}

// One GPU, and TensorFlow's stream on it.
class Cuda : public Device {
 public:
  explicit Cuda(void* stream) : stream_(stream) {
    constexpr int kMajor = 75, kMinor = 76;
    int device = 0, major = 0, minor = 0;
    driver().stream_context(stream_, &context_);
    use();
    driver().context_device(&device);
    driver().attribute(&major, kMajor, device);
    driver().attribute(&minor, kMinor, device);
    driver().load_module(&module_, compiled(major, minor).data());
    server_ = major >= 8 && major <= 10 && minor == 0;
    blas_.create(&handle_);
    blas_.set_stream(handle_, stream_);
  }

  // Makes this GPU the one that this thread speaks to.
  void use() { driver().use_context(context_); }

  void launch(const char* kernel, int64_t blocks, int threads, void** arguments) override {
    void*& function = functions_[kernel];
    if (!function) driver().find_function(&function, module_, kernel);
    driver().launch(function, static_cast<unsigned>(blocks), 1u, 1u, static_cast<unsigned>(threads), 1u, 1u, 0u, stream_,
                    arguments, static_cast<void**>(nullptr));
  }

  // cuBLAS's matrices lie in columns: to it, ours are turned, and cᵀ = op(b)ᵀ · op(a)ᵀ.
  void multiply(const Products<float>& p) override {
    const float alpha = 1;
    const int turn_b = p.turn_b, turn_a = p.turn_a, n = p.n, m = p.m, k = p.k, count = p.count;
    const int b_row = p.b_row, a_row = p.a_row, c_row = p.c_row;
    const long long b_next = p.b_next, a_next = p.a_next, c_next = p.c_next;
    if (count == 1)
      blas_.multiply(handle_, turn_b, turn_a, n, m, k, &alpha, p.b, b_row, p.a, a_row, &p.beta, p.c, c_row);
    else
      blas_.multiply_all(handle_, turn_b, turn_a, n, m, k, &alpha, p.b, b_row, b_next, p.a, a_row, a_next, &p.beta, p.c,
                         c_row, c_next, count);
  }

  void multiply(const Products<Half>& p) override {
    constexpr int kFloat = 0, kBfloat16 = 14, kInFloat = 68, kAnyAlgorithm = -1;
    const float alpha = 1;
    const int turn_b = p.turn_b, turn_a = p.turn_a, n = p.n, m = p.m, k = p.k;
    const int b_row = p.b_row, a_row = p.a_row, c_row = p.c_row;
    blas_.multiply_as(handle_, turn_b, turn_a, n, m, k, &alpha, p.b, kBfloat16, b_row, p.a, kBfloat16, a_row, &p.beta, p.c,
                      kFloat, c_row, kInFloat, kAnyAlgorithm);
  }

  ThirdsLimits thirds() const override {
    const char* lanes = std::getenv("WPO_LANES");
    const bool ahead = server_ && !(lanes && std::atoi(lanes) < 256);
    return {ahead ? 256 : std::numeric_limits<int64_t>::max(), int64_t{1} << 31, 512, int64_t{1} << 24};
  }

  // What lies in memory that the processor may page out has been read when this returns.
  void copy_in(void* to, const void* from, size_t bytes) override { driver().copy_in(to, from, bytes, stream_); }
  void copy_in(float** to, const std::vector<float*>& addresses) override {
    copy_in(to, addresses.data(), addresses.size() * sizeof(float*));
  }
  void zero(float* to, int64_t count) override { driver().set(to, 0u, static_cast<size_t>(count), stream_); }

 private:
  void *stream_, *context_ = nullptr, *module_ = nullptr, *handle_ = nullptr;
  bool server_ = false;  // 8.0, 9.0 and 10.0: six products of bfloat16 take less time there than one of floats
  const Blas blas_;
  std::map<const char*, void*> functions_;
};

Device& cuda_device(TF_OpKernelContext* context) {
  static std::mutex lock;
  static std::map<void*, Cuda> devices;
  void* stream = stream_of(context);
  if (!stream) throw std::runtime_error("TensorFlow gives no stream on its GPU");
  std::lock_guard<std::mutex> held(lock);
  Cuda& device = devices.try_emplace(stream, stream).first->second;
  device.use();
  return device;
}

std::string cuda_lack() {
  try {
    driver();
    const Compiler compiler;
    const Blas blas;
    return "";
  } catch (const std::exception& error) {
    return error.what();
  }
}

}  // namespace

const Platform platform = {"GPU", 256, 100'000'000, 1 << 24, cuda_device, cuda_lack};

}  // namespace wpo
