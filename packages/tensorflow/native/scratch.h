// Memory to work in, that begins where a cache line does: a vector that lies across two takes twice as long to load.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>

namespace wpo {

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
using Scratch = std::unique_ptr<float[], Free>;

constexpr int64_t kLine = 16;  // floats

inline int64_t whole_lines(int64_t count) { return (count + kLine - 1) / kLine * kLine; }

// Room for so many floats; null where there is none.
inline Scratch scratch_of(int64_t count) {
  const int64_t bytes = whole_lines(std::max<int64_t>(1, count)) * static_cast<int64_t>(sizeof(float));
  return Scratch(static_cast<float*>(std::aligned_alloc(kLine * sizeof(float), bytes)));
}

}  // namespace wpo
