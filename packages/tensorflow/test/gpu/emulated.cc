// A GPU emulated on the CPU, for tests. It runs the unchanged kernels.cu thread
// by thread, and computes products with plain loops. Device addresses are shifted to where the CPU
// cannot read, so an operation that reads GPU memory directly ends the process.
#include <dlfcn.h>
#include <ucontext.h>
#include <algorithm>
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

// A block's threads, each with its own stack. A warp's lanes run one after the
// other, each until it waits for the other lanes or for the block; a warp runs
// until all its lanes wait for the block, then the next warp does. Every second
// block starts with the last thread: a kernel that lacks a __syncthreads()
// gives different values in one of the two orders. These blocks also copy to
// shared memory as late as possible, the others at once.
class Block {
 public:
  static constexpr size_t kLanes = 32;
  // What a lane gives the others of its warp: the operands of a product, the
  // address of a matrix's row, or a value.
  struct Given {
    unsigned a[4], b[2];
    const unsigned short* row;
    float value;
  };

  Block(int threads, int64_t shared_bytes) : threads_(threads), shared_bytes_(shared_bytes) {
    shared_.reset(static_cast<char*>(std::aligned_alloc(128, (shared_bytes + kGuard + 127) / 128 * 128)));
    warps_.resize((threads_.size() + kLanes - 1) / kLanes);
  }

  void run(void (*body)(void*), void* argument) {
    body_ = body;
    argument_ = argument;
    std::memset(shared_.get(), 0xff, shared_bytes_ + kGuard);  // NaN
    for (Thread& thread : threads_) start(thread);
    backwards_ = !backwards_;
    for (bool any = true; any;) {
      for (Thread& thread : threads_)
        if (thread.state == kAtBlock) thread.state = kReady;
      any = false;
      for (size_t n = 0; n < warps_.size(); n++) any = run_warp(backwards_ ? warps_.size() - 1 - n : n) || any;
    }
    for (int i = 0; i < kGuard; i++)
      if (shared_[shared_bytes_ + i] != static_cast<char>(0xff)) fail("writes past the end of its shared memory");
  }
  void wait() { yield(kAtBlock); }

  // Gives the other lanes of the warp something, and returns what all gave.
  const Given* exchange(const Given& given) {
    const size_t lane = threadIdx.x % kLanes, warp = threadIdx.x / kLanes;
    const int turn = now_->turn ^= 1;  // the lanes that run first may be at the next exchange
    warps_[warp].given[turn][lane] = given;
    yield(kAtWarp);
    return warps_[warp].given[turn];
  }

  char* shared() { return shared_.get(); }
  void require_shared(const void* address) {
    const auto at = static_cast<const char*>(address) - shared_.get();
    if (at < 0 || at + 16 > shared_bytes_ || at % 16 != 0) fail("uses an address that is not in its shared memory");
  }
  void copy_later(void* to, const void* from) {
    require_shared(to);
    if (reinterpret_cast<uintptr_t>(from) % 16 != 0) fail("copies from an address that is not a multiple of 16");
    if (backwards_)
      now_->copies.push_back({to, from});
    else
      std::memcpy(to, from, 16);
  }
  void wait_for_copies() {
    for (const auto& [to, from] : now_->copies) std::memcpy(to, from, 16);
    now_->copies.clear();
  }
  // Called on a thread's stack, where exceptions cannot be caught.
  void fail(const char* what) {
    if (failure_.empty()) failure_ = std::string("the kernel ") + what;
  }
  const std::string& failure() const { return failure_; }

 private:
  static constexpr size_t kStack = 1 << 16;
  static constexpr int kGuard = 64;
  enum State { kReady, kAtWarp, kAtBlock, kEnded };
  struct Thread {
    ucontext_t context;
    std::unique_ptr<char[]> stack{new char[kStack]};
    State state = kEnded;
    int turn = 0;
    std::vector<std::pair<void*, const void*>> copies;
  };
  struct Warp {
    Given given[2][kLanes];
  };
  struct Free {
    void operator()(char* memory) { std::free(memory); }
  };

  // Runs a warp until its lanes wait for the block. Returns whether any has not
  // ended.
  bool run_warp(size_t warp) {
    const size_t first = warp * kLanes, count = std::min(kLanes, threads_.size() - first);
    for (bool at_warp = true; at_warp;) {
      at_warp = false;
      bool elsewhere = false;
      for (size_t n = 0; n < count; n++) {
        const size_t i = first + (backwards_ ? count - 1 - n : n);
        Thread& thread = threads_[i];
        if (thread.state == kReady || thread.state == kAtWarp) {
          threadIdx.x = static_cast<unsigned>(i);
          now_ = &thread;
          thread.state = kReady;
          swapcontext(&main_, &thread.context);
        }
        (thread.state == kAtWarp ? at_warp : elsewhere) = true;
      }
      if (at_warp && (elsewhere || count < kLanes)) fail("has lanes of a warp that do not reach the same instruction");
    }
    return std::any_of(&threads_[first], &threads_[first] + count, [](Thread& t) { return t.state != kEnded; });
  }
  void yield(State state) {
    now_->state = state;
    swapcontext(&now_->context, &main_);
  }
  void start(Thread& thread) {
    getcontext(&thread.context);
    thread.context.uc_stack.ss_sp = thread.stack.get();
    thread.context.uc_stack.ss_size = kStack;
    thread.context.uc_link = &main_;
    thread.state = kReady;
    thread.copies.clear();
    makecontext(&thread.context, &Block::enter, 0);
  }
  static void enter();

  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  const int64_t shared_bytes_;
  std::unique_ptr<char[], Free> shared_;
  inline static bool backwards_ = false;
  std::string failure_;
  ucontext_t main_;
  Thread* now_ = nullptr;
  void (*body_)(void*) = nullptr;
  void* argument_ = nullptr;
};

Block* block = nullptr;

void Block::enter() {
  block->body_(block->argument_);
  block->now_->state = kEnded;
}

#define __global__
#define __device__
#define __shared__ static
#define __syncthreads() block->wait()
#include "gpu/kernels.cu"

// What fused-attention.cu uses of the hardware, lane by lane, as the PTX manual
// lays fragments out ("Matrix Fragments for mma.m16n8k16", "ldmatrix").

using Bf16 = wpo::Bf16;
#define KERNEL(threads) inline void
#define DEVICE inline
#define SHARED_MEMORY(name) Bf16* const name = reinterpret_cast<Bf16*>(block->shared())

inline void copy_later(void* shared, const void* global) { block->copy_later(shared, global); }
inline void wait_for_copies() { block->wait_for_copies(); }

// Of four 8 x 8 matrices, values 2 (l % 4) and 2 (l % 4) + 1 of row l / 4.
inline void load(unsigned (&x)[4], const Bf16* row, bool transposed) {
  block->require_shared(row);
  const Block::Given* given = block->exchange({{}, {}, row, 0});
  const unsigned lane = threadIdx.x % 32, r = lane / 4, c = lane % 4 * 2;
  for (int i = 0; i < 4; i++) {
    const auto at = [&](unsigned row, unsigned column) { return unsigned{given[8 * i + row].row[column]}; };
    x[i] = transposed ? at(c, r) | at(c + 1, r) << 16 : at(r, c) | at(r, c + 1) << 16;
  }
  if (lane != 0) return;
  for (int i = 0; i < 4; i++) {  // the eight rows of a matrix must be in different banks
    unsigned banks = 0;
    for (int j = 0; j < 8; j++) banks |= 1u << reinterpret_cast<uintptr_t>(given[8 * i + j].row) / 16 % 8;
    if (banks != 0xff) block->fail("loads matrices with conflicts of banks");
  }
}
inline void load_matrices(unsigned (&x)[4], const Bf16* row) { load(x, row, false); }
inline void load_transposed(unsigned (&x)[4], const Bf16* row) { load(x, row, true); }

inline float low_half(unsigned pair) { return widened(static_cast<unsigned short>(pair)); }
inline float high_half(unsigned pair) { return widened(static_cast<unsigned short>(pair >> 16)); }

// With g = l / 4 and t = l % 4: a has rows g, g + 8 of columns 2 t, 2 t + 1,
// then both of columns 2 t + 8, 2 t + 9; b has column g of rows 2 t, 2 t + 1,
// 2 t + 8, 2 t + 9; c has row g of columns 2 t, 2 t + 1, then row g + 8.
inline void multiply_add(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  const Block::Given* given = block->exchange({{a[0], a[1], a[2], a[3]}, {b0, b1}, nullptr, 0});
  const unsigned lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  for (unsigned i = 0; i < 4; i++) {
    const unsigned row = g + i / 2 * 8, column = 2 * t + i % 2;
    float sum = c[i];
    for (unsigned k = 0; k < 16; k++) {
      const unsigned of_a = given[row % 8 * 4 + k % 8 / 2].a[k / 8 * 2 + row / 8];
      const unsigned of_b = given[column * 4 + k % 8 / 2].b[k / 8];
      sum += k % 2 ? high_half(of_a) * high_half(of_b) : low_half(of_a) * low_half(of_b);
    }
    c[i] = sum;
  }
}

inline unsigned pack_bf16(float low, float high) {
  return wpo::round_to_bf16(low) | unsigned{wpo::round_to_bf16(high)} << 16;
}
inline float exchange(float x, int mask) {
  return block->exchange({{}, {}, nullptr, x})[threadIdx.x % 32 ^ static_cast<unsigned>(mask)].value;
}
inline float fast_exp(float x) { return expf(x); }
inline float fast_divide(float x, float y) { return x / y; }
inline float minus_infinity() { return -INFINITY; }

#define HEAD_SIZE 32
#define GRADIENT_KEYS 32
namespace fused_32_32 {
#include "gpu/fused-attention.cu"
}
#undef GRADIENT_KEYS
#define GRADIENT_KEYS 64
namespace fused_32_64 {
#include "gpu/fused-attention.cu"
}
#undef HEAD_SIZE
#define HEAD_SIZE 128
namespace fused_128_64 {
#include "gpu/fused-attention.cu"
}
#undef HEAD_SIZE
#define HEAD_SIZE 256
namespace fused_256_64 {
#include "gpu/fused-attention.cu"
}
#undef GRADIENT_KEYS
#define GRADIENT_KEYS 32
namespace fused_256_32 {
#include "gpu/fused-attention.cu"
}
using Tiles = wpo::AttentionTiles;
static_assert(Tiles::kQueries == QUERIES && Tiles::kKeys == KEYS);
static_assert(Tiles::kQueryGradientKeys == QUERY_GRADIENT_KEYS);
static_assert(Tiles::kKeyGradientQueries == KEY_GRADIENT_QUERIES);
#undef D

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
  else if constexpr (std::is_same_v<T, UpdatedValue>) {
    const T& value = *static_cast<T*>(at);
    return T{here(value.values), here(value.high), here(value.low), value.key};
  } else
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

// Copies to and from pinned memory, on two streams. They run as late as a GPU may run them: only when something waits
// for them or for copies that must come after them. So an operation that does not wait reads other values.
class Copies {
 public:
  // `to` and `from` are addresses here.
  void queue(bool to_pinned, void* to, const void* from, size_t bytes) {
    queued_.push_back({to_pinned, to, from, bytes});
  }
  void wait_for(const void* address) {
    std::vector<bool> needed(queued_.size());
    for (size_t i = queued_.size(); i-- > 0;) {
      needed[i] = queued_[i].uses(address);
      for (size_t k = i + 1; k < queued_.size() && !needed[i]; k++)
        needed[i] = needed[k] && (queued_[k].to_pinned == queued_[i].to_pinned || queued_[k].uses(queued_[i].to) ||
                                  queued_[k].uses(queued_[i].from));
    }
    std::vector<Copy> later;
    for (size_t i = 0; i < queued_.size(); i++) {
      const Copy& copy = queued_[i];
      if (needed[i])
        std::memcpy(copy.to, copy.from, copy.bytes);
      else
        later.push_back(copy);
    }
    queued_ = later;
  }
  void wait_for_all() {
    for (const Copy& copy : queued_) std::memcpy(copy.to, copy.from, copy.bytes);
    queued_.clear();
  }

 private:
  struct Copy {
    bool to_pinned;
    void* to;
    const void* from;
    size_t bytes;
    bool uses(const void* address) const { return to == address || from == address; }
  };
  std::vector<Copy> queued_;
};
Copies copies;

using Kernel = std::function<void(void**)>;

#define NAMED(name) {#name, unpacked(name)}
const std::map<std::string, Kernel> kernels = {NAMED(rms_norm),
                                               NAMED(rms_norm_dx),
                                               NAMED(rms_norm_dw),
                                               NAMED(sum_rows),
                                               NAMED(rope),
                                               NAMED(geglu),
                                               NAMED(dropout),
                                               NAMED(add),
                                               NAMED(add_rows),
                                               NAMED(set_columns),
                                               NAMED(scaled_rows),
                                               NAMED(scaled_rows_bf16),
                                               NAMED(widen_bf16),
                                               NAMED(geglu_gradient),
                                               NAMED(square_sums),
                                               NAMED(sum_doubles),
                                               NAMED(adamw),
                                               NAMED(answer_terms),
                                               NAMED(cap_logits),
                                               NAMED(decode_attention),
                                               NAMED(softmax),
                                               NAMED(softmax_gradient),
                                               NAMED(pack_bf16x3),
                                               NAMED(round_bf16),
                                               NAMED(round_padded_bf16),
                                               NAMED(attention_deltas),
                                               NAMED(sum_parts),
                                               NAMED(lion),
                                               NAMED(sgd),
                                               NAMED(adamw_8bit),
                                               NAMED(adafactor_rows),
                                               NAMED(adafactor_column_sums),
                                               NAMED(adafactor_columns),
                                               NAMED(adafactor_row_factors),
                                               NAMED(adafactor_squares),
                                               NAMED(adafactor_rate),
                                               NAMED(adafactor_change),
                                               NAMED(adafactor_vector),
                                               NAMED(adafactor_change_vector)};

// fused-attention.cu, by head size and keys of a tile of the keys' gradient.
#define FUSED(head_size, gradient_keys)                                                                          \
  {                                                                                                              \
    {head_size, gradient_keys}, {                                                                                \
      {"attention_forward", unpacked(fused_##head_size##_##gradient_keys::attention_forward)},                   \
          {"attention_query_gradient", unpacked(fused_##head_size##_##gradient_keys::attention_query_gradient)}, \
          {"attention_key_gradient", unpacked(fused_##head_size##_##gradient_keys::attention_key_gradient)},     \
    }                                                                                                            \
  }
const std::map<std::pair<int64_t, int64_t>, std::map<std::string, Kernel>> fused_kernels = {
    FUSED(32, 32), FUSED(32, 64), FUSED(128, 64), FUSED(256, 32), FUSED(256, 64)};

class Gpu : public wpo::Device {
 public:
  void launch(const char* name, int64_t blocks, int threads, void** arguments) override {
    launch(kernels.at(name), blocks, threads, 0, arguments);
  }
  void launch(const wpo::AttentionTiles& tiles, const char* name, int64_t blocks, int threads, int64_t bytes,
              void** arguments) override {
    launch(fused_kernels.at({tiles.head_size, tiles.gradient_keys}).at(name), blocks, threads, bytes, arguments);
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
  void copy_to_pinned(void* pinned, const void* from, size_t bytes) override {
    copies.queue(true, pinned, here(from), bytes);
  }
  void copy_from_pinned(void* to, const void* pinned, size_t bytes) override {
    copies.queue(false, here(to), pinned, bytes);
  }
  void wait_for_copies(const void* address) override { copies.wait_for(here(address)); }

 private:
  static void launch(const Kernel& kernel, int64_t blocks, int threads, int64_t bytes, void** arguments) {
    Block one(threads, bytes);
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
    if (!one.failure().empty()) throw std::runtime_error(one.failure());
  }
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
    const std::shared_ptr<void> here = allocate_pinned(bytes);
    return {here, emulated::beyond(here.get())};
  }
  std::shared_ptr<void> allocate_pinned(int64_t bytes) override {
    const std::shared_ptr<void> memory(std::calloc(1, static_cast<size_t>(bytes) + 1), [](void* m) {
      emulated::copies.wait_for_all();  // as CUDA does before it frees memory
      std::free(m);
    });
    if (!memory) throw OutOfMemory(bytes, 1);
    return memory;
  }
  void synchronize() override { emulated::copies.wait_for_all(); }
  // NaN, so that a value which is read before it is written shows
  std::shared_ptr<void> allocate_for_step(int64_t bytes) override {
    const std::shared_ptr<void> memory = allocate(bytes);
    std::memset(emulated::here(memory.get()), 0xff, static_cast<size_t>(bytes));
    return memory;
  }
  char* staging() override { return staging_.get(); }
  void copy_in(void* to, const void* from, int64_t bytes) override {
    synchronize();
    std::memcpy(emulated::here(to), from, static_cast<size_t>(bytes));
  }
  void copy_out(void* to, const void* from, int64_t bytes) override {
    synchronize();
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
// As of compute capabilities 8.6, 8.9 and 12.0, the least, unless a test says otherwise.
int64_t fused_shared_memory() {
  const char* kilobytes = std::getenv("WPO_EMULATED_SHARED_KB");
  return (kilobytes ? std::atoi(kilobytes) : 99) * int64_t{1024};
}
}  // namespace

const Platform platform = {"CPU", 8, 200, 2000, device, memory, missing, {32, 128, 256}, fused_shared_memory};

}  // namespace wpo
