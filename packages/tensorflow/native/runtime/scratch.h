// Scratch memory, aligned to cache lines: a vector that crosses a cache line takes twice as long to load.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "runtime/error.h"
#include "runtime/step-memory.h"

namespace wpo {

struct Free {
  int64_t bytes = 0;
  void operator()(void* memory) const {
    if (bytes < kMinStepMemory)
      std::free(memory);
    else
      free_step_memory(memory, bytes);
  }
};
using Scratch = std::unique_ptr<float[], Free>;

constexpr int64_t kLineFloats = 16;

inline int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }
inline int64_t whole_lines(int64_t count) { return round_up(count, kLineFloats); }

// Bytes, rounded up to whole cache lines.
inline int64_t line_bytes(int64_t bytes) { return round_up(bytes, kLineFloats * static_cast<int64_t>(sizeof(float))); }

// Room for `count` floats. Throws OutOfMemory.
inline Scratch allocate_scratch(int64_t count) {
  if (count < 0 || count > kMaxElements) throw OutOfMemory(count);
  const int64_t bytes = whole_lines(std::max<int64_t>(1, count)) * static_cast<int64_t>(sizeof(float));
  void* memory = bytes < kMinStepMemory ? std::aligned_alloc(kLineFloats * sizeof(float), static_cast<size_t>(bytes))
                                        : allocate_step_memory(bytes);
  if (!memory) throw OutOfMemory(count);
  return Scratch(static_cast<float*>(memory), Free{bytes});
}

}  // namespace wpo
