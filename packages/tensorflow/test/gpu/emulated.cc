// A GPU played by the processor, for tests: the kernels of kernels.cu as they are, thread by thread, and plain products. Its
// memory is where no processor can read: an operation that does so ends the process.
#include <dlfcn.h>
#include <ucontext.h>
#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>
#include "../../native/gpu/run.h"

namespace emulated {

struct Index {
  unsigned x;
};
Index threadIdx, blockIdx, blockDim, gridDim;

struct int4 {
  int x, y, z, w;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};

// A block's threads, each with a stack of its own; one runs until it waits for the others, then the next. Every other block
// begins at the last one: a kernel that does not wait where it must gives other values in one of the two orders.
class Block {
 public:
  explicit Block(int threads) : threads_(threads) {}

  void run(void (*body)(void*), void* argument) {
    body_ = body;
    argument_ = argument;
    for (Thread& thread : threads_) start(thread);
    backwards_ = !backwards_;
    for (bool any = true; any;) {
      any = false;
      for (size_t turn = 0; turn < threads_.size(); turn++) {
        const size_t i = backwards_ ? threads_.size() - 1 - turn : turn;
        if (threads_[i].ended) continue;
        threadIdx.x = static_cast<unsigned>(i);
        now_ = &threads_[i];
        swapcontext(&main_, &now_->context);
        any = any || !threads_[i].ended;
      }
    }
  }
  void wait() { swapcontext(&now_->context, &main_); }

 private:
  static constexpr size_t kStack = 1 << 16;
  struct Thread {
    ucontext_t context;
    std::unique_ptr<char[]> stack{new char[kStack]};
    bool ended = false;
  };
  void start(Thread& thread) {
    getcontext(&thread.context);
    thread.context.uc_stack.ss_sp = thread.stack.get();
    thread.context.uc_stack.ss_size = kStack;
    thread.context.uc_link = &main_;
    thread.ended = false;
    makecontext(&thread.context, &Block::enter, 0);
  }
  static void enter();

  std::vector<Thread> threads_;
  inline static bool backwards_ = false;
  ucontext_t main_;
  Thread* now_ = nullptr;
  void (*body_)(void*) = nullptr;
  void* argument_ = nullptr;
};

Block* block = nullptr;

void Block::enter() {
  block->body_(block->argument_);
  block->now_->ended = true;
}

#define __global__
#define __device__
#define __shared__ static
#define __syncthreads() block->wait()
#include "../../native/gpu/kernels.cu"

// Addresses on the GPU are past all that a processor has; null stays null.
constexpr uintptr_t kBeyond = uintptr_t{1} << 62;
template <class T>
T* beyond(T* address) {
  return address ? reinterpret_cast<T*>(reinterpret_cast<uintptr_t>(address) + kBeyond) : nullptr;
}
template <class T>
T* here(T* address) {
  return address ? reinterpret_cast<T*>(reinterpret_cast<uintptr_t>(address) - kBeyond) : nullptr;
}
template <class T>
T argument(void* at) {
  if constexpr (std::is_pointer_v<T>) return here(*static_cast<T*>(at));
  else return *static_cast<T*>(at);
}

template <class... Parameters, size_t... I>
void call(void (*kernel)(Parameters...), void** arguments, std::index_sequence<I...>) {
  kernel(argument<Parameters>(arguments[I])...);
}

template <class... Parameters>
auto unpacked(void (*kernel)(Parameters...)) {
  return [kernel](void** arguments) { call(kernel, arguments, std::index_sequence_for<Parameters...>{}); };
}

using Kernel = std::function<void(void**)>;

#define KERNEL(name) {#name, unpacked(name)}
const std::map<std::string, Kernel> kernels = {
    KERNEL(rms_norm),       KERNEL(rms_norm_dx), KERNEL(rms_norm_dw), KERNEL(sum_rows),    KERNEL(rope),
    KERNEL(geglu),          KERNEL(add),         KERNEL(add_rows),    KERNEL(set_columns), KERNEL(scaled_rows),
    KERNEL(geglu_gradient), KERNEL(square_sums), KERNEL(sum_doubles), KERNEL(adamw),       KERNEL(answer_terms),
    KERNEL(cap_logits),     KERNEL(attend_one),  KERNEL(soften),      KERNEL(soften_gradient),
    KERNEL(thirds)};

class Gpu : public wpo::Device {
 public:
  void launch(const char* name, int64_t blocks, int threads, void** arguments) override {
    const Kernel& kernel = kernels.at(name);
    Block one(threads);
    block = &one;
    gridDim.x = static_cast<unsigned>(blocks);
    blockDim.x = static_cast<unsigned>(threads);
    std::pair<const Kernel*, void**> job = {&kernel, arguments};
    for (blockIdx.x = 0; blockIdx.x < gridDim.x; blockIdx.x++)
      one.run([](void* j) {
        auto* job = static_cast<std::pair<const Kernel*, void**>*>(j);
        (*job->first)(job->second);
      }, &job);
  }
  void multiply(const wpo::Products<float>& p) override { multiply_each(p); }
  void multiply(const wpo::Products<wpo::Half>& p) override { multiply_each(p); }
  // some sizes of the tests' each way
  wpo::ThirdsLimits thirds() const override { return {4, 200, 8, 100}; }

  void copy_in(void* to, const void* from, size_t bytes) override { std::memcpy(here(to), from, bytes); }
  void copy_in(float** to, const std::vector<float*>& addresses) override {
    for (size_t i = 0; i < addresses.size(); i++) here(to)[i] = here(addresses[i]);
  }
  void zero(float* to, int64_t count) override { std::memset(here(to), 0, count * sizeof(float)); }

 private:
  static double number(float x) { return x; }
  static double number(wpo::Half bits) {
    const uint32_t all = uint32_t{bits} << 16;
    float x;
    std::memcpy(&x, &all, sizeof x);
    return x;
  }
  template <class T>
  static void multiply_each(const wpo::Products<T>& p) {
    for (int64_t one = 0; one < p.count; one++)
      for (int64_t i = 0; i < p.m; i++)
        for (int64_t j = 0; j < p.n; j++) {
          const T *a = here(p.a) + one * p.a_next, *b = here(p.b) + one * p.b_next;
          double sum = 0;
          for (int64_t k = 0; k < p.k; k++)
            sum += number(p.turn_a ? a[k * p.a_row + i] : a[i * p.a_row + k]) *
                   number(p.turn_b ? b[j * p.b_row + k] : b[k * p.b_row + j]);
          float& c = here(p.c)[one * p.c_next + i * p.c_row + j];
          c = static_cast<float>(sum) + (p.beta == 0 ? 0 : p.beta * c);
        }
  }
};

}  // namespace emulated

// Taken by this addon for TensorFlow's: floats, and memory to work in, lie on the GPU.
extern "C" void* TF_TensorData(const TF_Tensor* tensor) {
  static void* const library = dlopen("libtensorflow_framework.so.2", RTLD_LAZY | RTLD_NOLOAD);
  static const auto tensorflows = reinterpret_cast<void* (*)(const TF_Tensor*)>(dlsym(library, "TF_TensorData"));
  void* data = tensorflows(tensor);
  return TF_TensorType(tensor) == TF_FLOAT ? emulated::beyond(data) : data;
}

namespace wpo {

namespace {
Device& device(TF_OpKernelContext*) {
  static emulated::Gpu gpu;
  return gpu;
}
std::string lack() { return ""; }
}  // namespace

const Platform platform = {"CPU", 8, 200, 2000, device, lack};

}  // namespace wpo
