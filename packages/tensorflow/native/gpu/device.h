// The operations' interface to a GPU. Work is queued and runs in order, after the call returns.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "gpu/fused-attention.h"
#include "runtime/types.h"

namespace wpo {

// c = op(a) · op(b) + beta · c for `batch` row-major matrices each: op(a) is [m, k] and op(b) is [k, n]. `lda`, `ldb`,
// `ldc` are leading dimensions (values from one row as stored to the next), the strides are values from one matrix to
// the next.
template <class T>
struct GemmArgs {
  bool transpose_a, transpose_b;
  int64_t m, n, k;
  const T* a;
  int64_t lda, stride_a;
  const T* b;
  int64_t ldb, stride_b;
  float beta;
  float* c;
  int64_t ldc, stride_c;
  int64_t batch;
};

// Which float products are computed as split-bfloat16 products (bf16x3.h), and in what pieces.
struct Bf16x3Limits {
  bool has_fast_bf16;                     // whether the GPU multiplies bfloat16 many times as fast as float32
  int64_t min_side, min_multiplications;  // smaller products are computed in float32
  // Depths that one product sums. Matrix units truncate the last bits inside a sum where other units round, so sums are
  // short, and are added with rounding.
  int64_t max_depth;
  int64_t max_values;  // of an operand that are packed at once
};

class Device {
 public:
  virtual ~Device() = default;
  // Launches a kernel of kernels.cu; `arguments` are the addresses of its arguments.
  virtual void launch(const char* kernel, int64_t blocks, int threads, void** arguments) = 0;
  // Launches a kernel of fused-attention.cu, compiled for `tiles`, whose blocks have `bytes` of shared memory.
  virtual void launch(const AttentionTiles& tiles, const char* kernel, int64_t blocks, int threads, int64_t bytes,
                      void** arguments) = 0;
  virtual void multiply(const GemmArgs<float>& args) = 0;
  virtual void multiply(const GemmArgs<Bf16>& args) = 0;
  virtual Bf16x3Limits bf16x3_limits() const = 0;
  // `from` may be changed once this returns.
  virtual void copy_in(void* to, const void* from, size_t bytes) = 0;
  virtual void copy_in(float** to, const std::vector<float*>& addresses) = 0;
  virtual void zero(float* to, int64_t count) = 0;
  // Copies to and from pinned memory of the CPU, each direction on a stream of its own. A copy starts once the work
  // that was queued before it has run, and earlier copies of either address. Until `wait_for_copies`, neither may be
  // changed or freed, and what is copied to not read. Addresses are compared, not ranges.
  virtual void copy_to_pinned(void* pinned, const void* from, size_t bytes) = 0;
  virtual void copy_from_pinned(void* to, const void* pinned, size_t bytes) = 0;
  // Work that is queued later starts after the copies of this address.
  virtual void wait_for_copies(const void* address) = 0;
};

}  // namespace wpo
