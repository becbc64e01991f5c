// A tensor from an open file: read by all threads straight to where it stays, bfloat16 widened on the way. Large pages are not
// asked for: in virtual machines, whose host has yet to find them, they take three times as long as small ones.
#include <unistd.h>
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <vector>
#include "op.h"
#include "parallel.h"
#include "vector-math.h"

namespace wpo {
namespace {

constexpr int64_t kPiece = 1 << 18;  // values at a time: small enough to widen while they are in the cache

bool read_fully(int file, void* target, int64_t bytes, int64_t offset) {
  char* at = static_cast<char*>(target);
  while (bytes > 0) {
    const ssize_t got = pread(file, at, bytes, offset);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    at += got, offset += got, bytes -= got;
  }
  return true;
}

WPO_VECTOR void widen(int64_t count, const uint16_t* from, float* to) {
  for (int64_t i = 0; i < count; i++) {
    const uint32_t bits = static_cast<uint32_t>(from[i]) << 16;
    std::memcpy(to + i, &bits, 4);
  }
}

// [file, offset in 2³⁰, rest of it, bytes a value: 2 for bfloat16 or 4, dimensions …] -> values
void read(Run& run) {
  const int32_t* how = run.in<int32_t>(0);
  const int64_t given = run.size(0);
  if (!run.ok(given >= 4 && (how[3] == 2 || how[3] == 4), "wanted a file, an offset, 2 or 4 bytes a value, a shape")) return;
  const int file = how[0], bytes = how[3];
  const int64_t offset = (static_cast<int64_t>(how[1]) << 30) + how[2];
  const Shape shape(how + 4, how + given);
  int64_t count = 1;
  for (int64_t n : shape) count *= n;
  float* values = run.out(0, shape);
  if (!values) return;
  std::atomic<bool> whole{true};
  std::vector<std::vector<uint16_t>> narrow(threads());
  parallel((count + kPiece - 1) / kPiece, kPiece, [&](int64_t a, int64_t b, int thread) {
    for (int64_t at = a * kPiece; at < std::min(count, b * kPiece); at += kPiece) {
      const int64_t n = std::min(kPiece, count - at);
      void* target = values + at;
      if (bytes == 2) {
        narrow[thread].resize(kPiece);
        target = narrow[thread].data();
      }
      if (!read_fully(file, target, n * bytes, offset + at * bytes)) return whole.store(false);
      if (bytes == 2) widen(n, narrow[thread].data(), values + at);
    }
  });
  run.ok(whole, "the file ends before the tensor does, or cannot be read");
}

}  // namespace

void define_read() { define<read>("WpoRead", {"how: int32"}, {"values: float"}); }

}  // namespace wpo
