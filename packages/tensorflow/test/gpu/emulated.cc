// A GPU emulated on the CPU, for tests. It runs the unchanged kernels.cu thread
// by thread, and computes products with plain loops. Device addresses are shifted to where the CPU
// cannot read, so an operation that reads GPU memory directly ends the process.
#include <dlfcn.h>
#include <ucontext.h>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>
#include "gpu/operation.h"

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

// A block's threads, each with its own stack. One runs until it waits for the
// others, then the next. Every second block starts with the last thread: a
// kernel that lacks a __syncthreads() gives different values in one of the two
// orders.
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
      for (size_t n = 0; n < threads_.size(); n++) {
        const size_t i = backwards_ ? threads_.size() - 1 - n : n;
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
#include "gpu/kernels.cu"

// Device addresses are beyond the CPU's address space; null stays null.
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
  if constexpr (std::is_pointer_v<T>)
    return here(*static_cast<T*>(at));
  else
    return *static_cast<T*>(at);
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
const std::map<std::string, Kernel> kernels = {KERNEL(rms_norm),
                                               KERNEL(rms_norm_dx),
                                               KERNEL(rms_norm_dw),
                                               KERNEL(sum_rows),
                                               KERNEL(rope),
                                               KERNEL(geglu),
                                               KERNEL(dropout),
                                               KERNEL(add),
                                               KERNEL(add_rows),
                                               KERNEL(set_columns),
                                               KERNEL(scaled_rows),
                                               KERNEL(scaled_rows_bf16),
                                               KERNEL(widen_bf16),
                                               KERNEL(geglu_gradient),
                                               KERNEL(square_sums),
                                               KERNEL(sum_doubles),
                                               KERNEL(adamw),
                                               KERNEL(answer_terms),
                                               KERNEL(cap_logits),
                                               KERNEL(decode_attention),
                                               KERNEL(softmax),
                                               KERNEL(softmax_gradient),
                                               KERNEL(pack_bf16x3),
                                               KERNEL(round_bf16),
                                               KERNEL(sum_parts),
                                               KERNEL(lion),
                                               KERNEL(sgd),
                                               KERNEL(adamw_8bit),
                                               KERNEL(adafactor_rows),
                                               KERNEL(adafactor_column_sums),
                                               KERNEL(adafactor_columns),
                                               KERNEL(adafactor_row_factors),
                                               KERNEL(adafactor_squares),
                                               KERNEL(adafactor_rate),
                                               KERNEL(adafactor_change),
                                               KERNEL(adafactor_vector),
                                               KERNEL(adafactor_change_vector)};

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
      one.run(
          [](void* j) {
            auto* job = static_cast<std::pair<const Kernel*, void**>*>(j);
            (*job->first)(job->second);
          },
          &job);
  }
  void multiply(const wpo::GemmArgs<float>& p) override { multiply_each(p); }
  void multiply(const wpo::GemmArgs<wpo::Bf16>& p) override { multiply_each(p); }
  // low limits, so that the tests' sizes use every path
  wpo::Bf16x3Limits bf16x3_limits() const override { return {true, 4, 200, 8, 100}; }

  void copy_in(void* to, const void* from, size_t bytes) override { std::memcpy(here(to), from, bytes); }
  void copy_in(float** to, const std::vector<float*>& addresses) override {
    for (size_t i = 0; i < addresses.size(); i++) here(to)[i] = here(addresses[i]);
  }
  void zero(float* to, int64_t count) override { std::memset(here(to), 0, count * sizeof(float)); }

 private:
  static double number(float x) { return x; }
  static double number(wpo::Bf16 bits) {
    const uint32_t all = uint32_t{bits} << 16;
    float x;
    std::memcpy(&x, &all, sizeof x);
    return x;
  }
  template <class T>
  static void multiply_each(const wpo::GemmArgs<T>& p) {
    for (int64_t one = 0; one < p.batch; one++)
      for (int64_t i = 0; i < p.m; i++)
        for (int64_t j = 0; j < p.n; j++) {
          const T *a = here(p.a) + one * p.stride_a, *b = here(p.b) + one * p.stride_b;
          double sum = 0;
          for (int64_t k = 0; k < p.k; k++)
            sum += number(p.transpose_a ? a[k * p.lda + i] : a[i * p.lda + k]) *
                   number(p.transpose_b ? b[j * p.ldb + k] : b[k * p.ldb + j]);
          float& c = here(p.c)[one * p.stride_c + i * p.ldc + j];
          c = static_cast<float>(sum) + (p.beta == 0 ? 0 : p.beta * c);
        }
  }
};

}  // namespace emulated

// Replaces TensorFlow's function in this addon: float tensors and scratch
// memory are in the emulated GPU's memory.
extern "C" void* TF_TensorData(const TF_Tensor* tensor) {
  static void* const library = dlopen("libtensorflow_framework.so.2", RTLD_LAZY | RTLD_NOLOAD);
  static const auto original = reinterpret_cast<void* (*)(const TF_Tensor*)>(dlsym(library, "TF_TensorData"));
  void* data = original(tensor);
  return TF_TensorType(tensor) == TF_FLOAT ? emulated::beyond(data) : data;
}

namespace wpo {

namespace {
Device& device(TF_OpKernelContext*) {
  static emulated::Gpu gpu;
  return gpu;
}
// A staging memory of its own, as a GPU has.
class Memory : public StoreMemory {
 public:
  std::shared_ptr<void> allocate(int64_t bytes) override {
    const std::shared_ptr<void> here(std::calloc(1, static_cast<size_t>(bytes) + 1), std::free);
    if (!here) throw OutOfMemory(bytes, 1);
    return {here, emulated::beyond(here.get())};
  }
  char* staging() override { return staging_.get(); }
  void copy_in(void* to, const void* from, int64_t bytes) override {
    std::memcpy(emulated::here(to), from, static_cast<size_t>(bytes));
  }
  void copy_out(void* to, const void* from, int64_t bytes) override {
    std::memcpy(to, emulated::here(from), static_cast<size_t>(bytes));
  }

 private:
  std::unique_ptr<char[]> staging_{new char[kStagingBytes]};
};
StoreMemory& memory() {
  static Memory all;
  return all;
}
std::string missing() { return ""; }
}  // namespace

const Platform platform = {"CPU", 8, 200, 2000, device, memory, missing};

}  // namespace wpo
