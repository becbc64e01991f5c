// A GPU played by the processor, for tests: the kernels of kernels.cu as they are, thread by thread, and plain products.
#include <ucontext.h>
#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>
#include "../../native/gpu/run.h"

namespace emulated {

struct Index {
  unsigned x;
};
Index threadIdx, blockIdx, blockDim, gridDim;

// A block's threads, each with a stack of its own; one runs until it waits for the others, then the next.
class Block {
 public:
  explicit Block(int threads) : threads_(threads) {}

  void run(void (*body)(void*), void* argument) {
    body_ = body;
    argument_ = argument;
    for (Thread& thread : threads_) start(thread);
    for (bool any = true; any;) {
      any = false;
      for (size_t i = 0; i < threads_.size(); i++) {
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

template <class... Parameters, size_t... I>
void call(void (*kernel)(Parameters...), void** arguments, std::index_sequence<I...>) {
  kernel(*static_cast<std::remove_reference_t<Parameters>*>(arguments[I])...);
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
    KERNEL(cap_logits),     KERNEL(attend_one),  KERNEL(soften),      KERNEL(soften_gradient)};

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
  void multiply(const wpo::Products& p) override {
    for (int64_t one = 0; one < p.count; one++)
      for (int64_t i = 0; i < p.m; i++)
        for (int64_t j = 0; j < p.n; j++) {
          const float *a = p.a + one * p.a_next, *b = p.b + one * p.b_next;
          double sum = 0;
          for (int64_t k = 0; k < p.k; k++)
            sum += double(p.turn_a ? a[k * p.a_row + i] : a[i * p.a_row + k]) *
                   (p.turn_b ? b[j * p.b_row + k] : b[k * p.b_row + j]);
          float& c = p.c[one * p.c_next + i * p.c_row + j];
          c = static_cast<float>(sum) + (p.beta == 0 ? 0 : p.beta * c);
        }
  }
  void copy_in(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void zero(float* to, int64_t count) override { std::memset(to, 0, count * sizeof(float)); }
};

}  // namespace emulated

namespace wpo {

namespace {
Device& device(TF_OpKernelContext*) {
  static emulated::Gpu gpu;
  return gpu;
}
std::string lack() { return ""; }
}  // namespace

const Platform platform = {"CPU", 8, device, lack};

}  // namespace wpo
