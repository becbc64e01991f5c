#include "runtime/file-values.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <vector>

#include "runtime/error.h"
#include "runtime/parallel.h"

namespace wpo {
namespace {

constexpr int64_t kPiece = 1 << 18;  // values at a time: few enough to be in the cache when they are converted

WPO_TARGET_CLONES void widen_bf16(int64_t count, const Bf16* from, float* to) {
  for (int64_t i = 0; i < count; i++) to[i] = load_float(from + i);
}
WPO_TARGET_CLONES void round_floats(int64_t count, const float* from, Bf16* to) {
  for (int64_t i = 0; i < count; i++) to[i] = round_to_bf16(from[i]);
}
WPO_TARGET_CLONES void widen_float16s(int64_t count, const uint16_t* from, float* to) {
  for (int64_t i = 0; i < count; i++) to[i] = widen_float16(from[i]);
}
WPO_TARGET_CLONES void round_float16s(int64_t count, const uint16_t* from, Bf16* to) {
  for (int64_t i = 0; i < count; i++) to[i] = round_to_bf16(widen_float16(from[i]));
}

// Calls transfer(memory, bytes, offset), which returns how many bytes it transferred, until all are. Returns an errno,
// or −1 where the file ends.
template <class Transfer>
int transfer_fully(char* memory, int64_t bytes, int64_t offset, Transfer transfer) {
  while (bytes > 0) {
    const ssize_t done = transfer(memory, static_cast<size_t>(bytes), offset);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return errno;
    if (done == 0) return -1;
    memory += done, offset += done, bytes -= done;
  }
  return 0;
}

// Transfers `values` in pieces, on all threads. `piece(memory, at, n)` prepares or uses the values [at, at + n) in
// `memory`, which is a thread's buffer if `direct` is null.
template <class Body>
void for_pieces(const FileValues& values, bool buffered, const char* failure, Body body) {
  std::atomic<int> error{0};
  std::vector<std::vector<char>> buffers(threads());
  parallel((values.count + kPiece - 1) / kPiece, kPiece, [&](int64_t a, int64_t b, int thread) {
    if (buffered) buffers[thread].resize(static_cast<size_t>(kPiece * size_of(values.type)));
    for (int64_t at = a * kPiece; at < std::min(values.count, b * kPiece); at += kPiece) {
      const int64_t n = std::min(kPiece, values.count - at);
      if (const int found = body(buffers[thread].data(), at, n)) return error.store(found);
    }
  });
  if (error == 0) return;
  throw std::runtime_error(std::string(failure) + (error < 0 ? "the file ends before them" : std::strerror(error)));
}

}  // namespace

void convert_values(int64_t count, Type from_type, const void* from, Type to_type, void* to) {
  const auto* halves = static_cast<const uint16_t*>(from);
  if (from_type == to_type)
    std::memcpy(to, from, static_cast<size_t>(count * size_of(to_type)));
  else if (from_type == Type::kFloat32)
    round_floats(count, static_cast<const float*>(from), static_cast<Bf16*>(to));
  else if (from_type == Type::kBfloat16)
    widen_bf16(count, halves, static_cast<float*>(to));
  else if (to_type == Type::kFloat32)
    widen_float16s(count, halves, static_cast<float*>(to));
  else
    round_float16s(count, halves, static_cast<Bf16*>(to));
}

void read_values(const FileValues& from, Type type, void* to) {
  const bool direct = from.type == type;
  for_pieces(from, !direct, "the values cannot be read: ", [&](char* buffer, int64_t at, int64_t n) {
    char* target = static_cast<char*>(to) + at * size_of(type);
    char* memory = direct ? target : buffer;
    const int64_t bytes = size_of(from.type);
    const int error =
        transfer_fully(memory, n * bytes, from.offset + at * bytes,
                       [&](char* m, size_t size, int64_t offset) { return pread(from.file, m, size, offset); });
    if (error == 0 && !direct) convert_values(n, from.type, memory, type, target);
    return error;
  });
}

void write_values(const void* from, Type type, const FileValues& to) {
  const bool direct = to.type == type;
  for_pieces(to, !direct, "the values cannot be written: ", [&](char* buffer, int64_t at, int64_t n) {
    const char* source = static_cast<const char*>(from) + at * size_of(type);
    if (!direct) convert_values(n, type, source, to.type, buffer);
    const int64_t bytes = size_of(to.type);
    return transfer_fully(direct ? const_cast<char*>(source) : buffer, n * bytes, to.offset + at * bytes,
                          [&](char* m, size_t size, int64_t offset) { return pwrite(to.file, m, size, offset); });
  });
}

}  // namespace wpo
