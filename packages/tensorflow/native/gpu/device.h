// A GPU as the operations use it: what they ask of it is done in the order asked, some time later.
#pragma once
#include <cstddef>
#include <cstdint>

namespace wpo {

// c = op(a) · op(b) + beta · c for `count` matrices each, in rows: op(a) is [m, k] and op(b) [k, n]; `a_row` values from a row of
// a as it lies to the next, `a_next` to the next matrix.
struct Products {
  bool turn_a, turn_b;
  int64_t m, n, k;
  const float* a;
  int64_t a_row, a_next;
  const float* b;
  int64_t b_row, b_next;
  float beta;
  float* c;
  int64_t c_row, c_next;
  int64_t count;
};

class Device {
 public:
  virtual ~Device() = default;
  // Runs a kernel of kernels.cu; `arguments` point to what it is given.
  virtual void launch(const char* kernel, int64_t blocks, int threads, void** arguments) = 0;
  virtual void multiply(const Products& products) = 0;
  // `from` may change once this returns.
  virtual void copy_in(void* to, const void* from, size_t bytes) = 0;
  virtual void zero(float* to, int64_t count) = 0;
};

}  // namespace wpo
