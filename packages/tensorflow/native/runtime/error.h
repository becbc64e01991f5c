// Errors of operations. An operation throws; its callback (operation.h) turns the exception into TensorFlow's status,
// which tfjs-node throws as a JavaScript error.
#pragma once
#include <cstdint>
#include <limits>
#include <ostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace wpo {

using Shape = std::vector<int64_t>;

// "[2, 3]"
inline std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  out << '[';
  for (size_t i = 0; i < shape.size(); i++) out << (i == 0 ? "" : ", ") << shape[i];
  return out << ']';
}

// Throws std::invalid_argument with the parts of a message joined.
template <class... Parts>
[[noreturn]] __attribute__((noinline, cold)) void fail(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  throw std::invalid_argument(text.str());
}

// The message is formatted only if the condition is false.
template <class... Parts>
inline void require(bool condition, const Parts&... parts) {
  if (!condition) fail(parts...);
}

// The product of counts, all 0 or more; the largest int64 where it does not fit. Large factors do not overflow even if
// another is 0.
template <class... Counts>
constexpr int64_t saturated_product(Counts... counts) {
  int64_t product = 1;
  bool empty = false, fits = true;
  for (const int64_t count : {static_cast<int64_t>(counts)...}) {
    empty |= count == 0;
    fits = fits && !__builtin_mul_overflow(product, count, &product);
  }
  return empty ? 0 : fits ? product : std::numeric_limits<int64_t>::max();
}

struct OutOfMemory : std::runtime_error {
  explicit OutOfMemory(int64_t count, size_t bytes_per_value = sizeof(float))
      : runtime_error("out of memory: could not allocate " + std::to_string(saturated_product(count, bytes_per_value)) +
                      " bytes") {}
};

// Limits of TensorFlow and tfjs: a larger rank or count ends the process inside TensorFlow.
constexpr int64_t kMaxRank = 8, kMaxElements = int64_t{1} << 40;

// The product of sizes that a tensor or scratch memory will have. Throws if it exceeds kMaxElements.
template <class... Counts>
int64_t checked_product(Counts... counts) {
  const int64_t product = saturated_product(counts...);
  if (product > kMaxElements) fail("expected at most ", kMaxElements, " values, found ", Shape{int64_t(counts)...});
  return product;
}

// The number of elements of a shape. Throws if it is too large; the product of the dimensions up to any one is limited,
// even if a later one is 0.
inline int64_t element_count(const Shape& shape) {
  int64_t count = 1;
  for (int64_t n : shape) {
    require(n == 0 || count <= kMaxElements / n, "expected a tensor of at most ", kMaxElements, " values, found shape ",
            shape);
    count *= n;
  }
  return count;
}

// The number of elements of a shape that will be allocated. Throws if it is invalid or too large.
inline int64_t checked_element_count(const Shape& shape) {
  require(static_cast<int64_t>(shape.size()) <= kMaxRank, "expected at most ", kMaxRank, " dimensions, found ",
          shape.size());
  for (int64_t n : shape) require(n >= 0, "expected dimensions of 0 or more, found ", shape);
  return element_count(shape);
}

}  // namespace wpo
