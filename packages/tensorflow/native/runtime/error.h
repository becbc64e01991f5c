// Errors of operations. An operation throws; its callback (operation.h) turns the exception into TensorFlow's status,
// which tfjs-node throws as a JavaScript error.
#pragma once
#include <cstdint>
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

struct OutOfMemory : std::runtime_error {
  explicit OutOfMemory(int64_t bytes)
      : runtime_error("out of memory: could not allocate " + std::to_string(bytes) + " bytes") {}
};

// Limits of TensorFlow and tfjs: a larger rank or count ends the process inside TensorFlow.
constexpr int64_t kMaxRank = 8, kMaxElements = int64_t{1} << 40;

// The number of elements of an existing tensor.
inline int64_t element_count(const Shape& shape) {
  int64_t count = 1;
  for (int64_t n : shape) count *= n;
  return count;
}

// The number of elements of a shape that will be allocated. Throws if it is invalid or too large.
inline int64_t checked_element_count(const Shape& shape) {
  require(static_cast<int64_t>(shape.size()) <= kMaxRank, "expected at most ", kMaxRank, " dimensions, found ",
          shape.size());
  int64_t count = 1;
  for (int64_t n : shape) require(n >= 0, "expected dimensions of 0 or more, found ", shape);
  for (int64_t n : shape) {
    require(n == 0 || count <= kMaxElements / n, "expected a tensor of at most ", kMaxElements, " values, found shape ",
            shape);
    count *= n;
  }
  return count;
}

}  // namespace wpo
