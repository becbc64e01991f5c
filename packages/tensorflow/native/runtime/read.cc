// Reads a tensor from an open file: all threads read directly into the output, and widen bfloat16. It does not request
// large pages: in a virtual machine they take three times as long as small ones until the host has provided them.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <vector>

#include "runtime/operation.h"
#include "runtime/parallel.h"
#include "runtime/vector-math.h"

namespace wpo {
namespace {

constexpr int64_t kPiece = 1 << 18;  // values at a time: few enough to be in the cache when they are widened

bool read_fully(int file, void* target, int64_t bytes, int64_t offset) {
  char* at = static_cast<char*>(target);
  while (bytes > 0) {
    const ssize_t got = pread(file, at, static_cast<size_t>(bytes), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    at += got, offset += got, bytes -= got;
  }
  return true;
}

WPO_TARGET_CLONES void widen(int64_t count, const uint16_t* from, float* to) {
  for (int64_t i = 0; i < count; i++) {
    const uint32_t bits = static_cast<uint32_t>(from[i]) << 16;
    std::memcpy(to + i, &bits, 4);
  }
}

// [file, offset in 2³⁰, rest of it, bytes of a value: 2 for bfloat16 or 4, dimensions …] -> values
void read(OpContext& ctx) {
  const int32_t* params = ctx.input<int32_t>(0);
  const int64_t num_params = ctx.size(0);
  require(num_params >= 4, "expected a file, an offset in two parts, bytes of a value and a shape, found ", num_params,
          " numbers");
  const int file = params[0], bytes = params[3];
  require(bytes == 2 || bytes == 4, "expected 2 or 4 bytes a value, found ", bytes);
  require(params[1] >= 0 && params[2] >= 0, "expected an offset of 0 or more, found ", params[1], " and ", params[2]);
  const int64_t offset = (static_cast<int64_t>(params[1]) << 30) + params[2];
  const Shape shape(params + 4, params + num_params);
  const int64_t count = checked_element_count(shape);
  float* values = ctx.output(0, shape);
  std::atomic<bool> complete{true};
  std::vector<std::vector<uint16_t>> narrow(threads());
  parallel((count + kPiece - 1) / kPiece, kPiece, [&](int64_t a, int64_t b, int thread) {
    for (int64_t at = a * kPiece; at < std::min(count, b * kPiece); at += kPiece) {
      const int64_t n = std::min(kPiece, count - at);
      void* target = values + at;
      if (bytes == 2) {
        narrow[thread].resize(kPiece);
        target = narrow[thread].data();
      }
      if (!read_fully(file, target, n * bytes, offset + at * bytes)) return complete.store(false);
      if (bytes == 2) widen(n, narrow[thread].data(), values + at);
    }
  });
  require(complete, "the file ends before the tensor does, or cannot be read");
}

}  // namespace

void register_read() { register_kernel<read>("WpoRead"); }

}  // namespace wpo
