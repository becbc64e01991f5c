// A GPU as the operations use it: what they ask of it is done in the order asked, some time later.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace wpo {

// The bits of a bfloat16.
using Half = uint16_t;

// c = op(a) · op(b) + beta · c for `count` matrices each, in rows: op(a) is [m, k] and op(b) [k, n]; `a_row` values from a row of
// a as it lies to the next, `a_next` to the next matrix.
template <class T>
struct Products {
  bool turn_a, turn_b;
  int64_t m, n, k;
  const T* a;
  int64_t a_row, a_next;
  const T* b;
  int64_t b_row, b_next;
  float beta;
  float* c;
  int64_t c_row, c_next;
  int64_t count;
};

// From which least side of a product and how many multiplications on; how many depths are summed at once, and how many values of
// an operand laid out. Matrix units cut off each sum's last bits where others round: what they do not sum at once is rounded.
struct ThirdsLimits {
  int64_t side, multiplications, depth, values;
};

class Device {
 public:
  virtual ~Device() = default;
  // Runs a kernel of kernels.cu; `arguments` point to what it is given.
  virtual void launch(const char* kernel, int64_t blocks, int threads, void** arguments) = 0;
  virtual void multiply(const Products<float>& products) = 0;
  virtual void multiply(const Products<Half>& products) = 0;  // of one matrix each
  // When floats are multiplied by their thirds (thirds.h).
  virtual ThirdsLimits thirds() const = 0;
  // `from` may change once this returns.
  virtual void copy_in(void* to, const void* from, size_t bytes) = 0;
  virtual void copy_in(float** to, const std::vector<float*>& addresses) = 0;
  virtual void zero(float* to, int64_t count) = 0;
};

}  // namespace wpo
